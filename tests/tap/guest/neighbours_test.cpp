// Which questions for addresses a host that is far behind need not see.

#include "tap/guest/neighbours.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "shmif/bus.hpp"
#include "tap/host_mac.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

using tap::VainQuestions;
using Octets = std::vector<std::uint8_t>;

constexpr std::uint64_t kSecond = 1'000'000'000;

/// An ARP packet from 198.18.0.`sender` (0.0.0.0 if that is 0) about 198.18.0.`target`.
Octets arp(std::uint8_t operation, std::uint8_t sender, std::uint8_t target, bool to_all = true) {
  const std::uint8_t first = to_all ? 0xff : 2;
  Octets f{first, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7, 8, 6, 0, 1, 8, 0, 6, 4, 0};
  f.insert(f.end(), {operation, 2, 0, 0, 0, 0, 7});
  const Octets from = sender == 0 ? Octets(4) : Octets{198, 18, 0, sender};
  f.insert(f.end(), from.begin(), from.end());
  f.insert(f.end(), {0, 0, 0, 0, 0, 0, 198, 18, 0, target});
  return f;
}

/// A message from fd00::`sender` (:: if that is 0) about fd00::`target`.
Octets neighbour(std::uint8_t type, std::uint8_t sender, std::uint8_t target) {
  Octets f{0x33, 0x33, 0xff, 0, 0, target, 2, 0, 0, 0, 0, 7, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58};
  f.push_back(255);
  f.resize(14 + 40);
  if (sender != 0) {
    f[22] = 0xfd;
    f[37] = sender;
  }
  f.insert(f.end(), {type, 0, 0, 0, 0, 0, 0, 0, 0xfd});
  f.resize(f.size() + 14);
  f.push_back(target);
  return f;
}

constexpr std::uint8_t kRequest = 1;
constexpr std::uint8_t kReply = 2;
constexpr std::uint8_t kSolicitation = 135;
constexpr std::uint8_t kAdvertisement = 136;

class VainQuestion : public ::testing::Test {
 protected:
  /// Whether the host need not see the frame, which was sent at that time, while `behind` frames
  /// wait.
  bool is_vain(const Octets& bytes, std::uint64_t time_ns = kSecond, std::uint64_t behind = 1000) {
    FrameView frame(bytes.data(), bytes.size());
    frame.time_ns = time_ns;
    frame.number = ++number_;
    return questions_.is_vain(frame, [&] {
      ++looks_;
      return frame.number + behind;
    });
  }
  void sends(const Octets& bytes) { questions_.learn(FrameView(bytes.data(), bytes.size())); }
  /// So many other frames come to the host.
  void others(unsigned count) {
    Octets data(60, 2);
    for (; count > 0; --count) EXPECT_FALSE(is_vain(data));
  }

  VainQuestions questions_;
  std::uint64_t number_ = 0;
  unsigned looks_ = 0;
};

TEST_F(VainQuestion, OfAHostThatDoesNotAnswerIsLeftOutOnceItHadTheTimeToAnswer) {
  for (const Octets& question :
       {arp(kRequest, 1, 9), arp(kRequest, 0, 8), neighbour(kSolicitation, 1, 9)}) {
    EXPECT_FALSE(is_vain(question));
    others(126);
    EXPECT_FALSE(is_vain(question));  // 127 frames after the first
    EXPECT_TRUE(is_vain(question));
    EXPECT_TRUE(is_vain(question));
  }
}

VainQuestions::Address address(std::initializer_list<unsigned> first) {
  VainQuestions::Address made{};
  std::ranges::transform(first, made.begin(), [](unsigned each) { return std::byte(each); });
  return made;
}

TEST_F(VainQuestion, ForAnAddressThatTheHostHasGotSinceIsSeenAtOnce) {
  for (const auto& [question, got] : {std::pair{arp(kRequest, 1, 9), address({198, 18, 0, 9})},
                                      std::pair{neighbour(kSolicitation, 1, 0), address({0xfd})}}) {
    EXPECT_FALSE(is_vain(question));
    others(127);
    EXPECT_TRUE(is_vain(question));
    questions_.note_own(got);
    EXPECT_FALSE(is_vain(question));
    EXPECT_FALSE(is_vain(question));
  }
}

TEST_F(VainQuestion, ForAnyAddressIsSeenIfItIsNotKnownWhichTheHostHasGot) {
  EXPECT_FALSE(is_vain(arp(kRequest, 1, 8)));
  EXPECT_FALSE(is_vain(arp(kRequest, 1, 9)));
  others(127);
  EXPECT_TRUE(is_vain(arp(kRequest, 1, 9)));
  questions_.forget();
  for (const std::uint8_t target : {std::uint8_t{8}, std::uint8_t{9}}) {
    EXPECT_FALSE(is_vain(arp(kRequest, 1, target)));
  }
  others(127);
  EXPECT_TRUE(is_vain(arp(kRequest, 1, 9))) << "it had the time to answer";
}

TEST_F(VainQuestion, ForAnyAddressIsSeenIfTheHostHasMoreThanAreKept) {
  for (unsigned i = 0; i < VainQuestions::kMaxOwn; ++i)
    questions_.note_own(address({10, 0, i / 256, i % 256}));
  EXPECT_FALSE(is_vain(arp(kRequest, 1, 9)));
  others(127);
  EXPECT_TRUE(is_vain(arp(kRequest, 1, 9)));
  questions_.note_own(address({10, 1}));
  EXPECT_FALSE(is_vain(arp(kRequest, 1, 9)));
  EXPECT_FALSE(is_vain(arp(kRequest, 1, 9)));
}

TEST_F(VainQuestion, IsSeenAgainAfterASecond) {
  const Octets question = arp(kRequest, 1, 9);
  EXPECT_FALSE(is_vain(question, 5 * kSecond));
  others(127);
  EXPECT_TRUE(is_vain(question, 6 * kSecond - 1));
  EXPECT_FALSE(is_vain(question, 6 * kSecond));
  EXPECT_TRUE(is_vain(question, 7 * kSecond - 1));
  EXPECT_FALSE(is_vain(question, 7 * kSecond));
}

/// All senders write the number of frames on the bus.
TEST_F(VainQuestion, LooksAtTheBusOnlyWhenWhatItSawLastNoLongerTells) {
  const Octets question = arp(kRequest, 1, 9);
  EXPECT_FALSE(is_vain(question));
  others(127);
  EXPECT_EQ(looks_, 0U);
  for (int i = 0; i < 256; ++i) ASSERT_TRUE(is_vain(question));
  EXPECT_EQ(looks_, 1U);
  EXPECT_TRUE(is_vain(question)) << "the number that it saw counts for 256 frames at most";
  EXPECT_EQ(looks_, 2U);
  others(1);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(is_vain(question, kSecond, 257));
  }
  EXPECT_EQ(looks_, 2U);
}

TEST_F(VainQuestion, ForAnAddressOfTheHostIsAlwaysSeen) {
  sends(arp(kReply, 9, 1, false));
  sends(arp(kRequest, 10, 1));
  sends(neighbour(kAdvertisement, 9, 9));
  sends(neighbour(kSolicitation, 10, 1));
  sends(neighbour(kSolicitation, 0, 11));  // it looks for a duplicate of an address to come
  for (const Octets& question :
       {arp(kRequest, 1, 9), arp(kRequest, 1, 10), neighbour(kSolicitation, 1, 9),
        neighbour(kSolicitation, 1, 10), neighbour(kSolicitation, 1, 11)}) {
    for (int i = 0; i < 300; ++i) ASSERT_FALSE(is_vain(question));
  }
}

/// Otherwise a hostile port could make a host deaf: with a question that shares the place, and then
/// one for the host's address to which no kernel answers, such as one from 127.0.0.1.
TEST_F(VainQuestion, ForAnAddressOfTheHostIsSeenWhateverElseIsAskedFor) {
  sends(arp(kReply, 9, 1, false));
  questions_.note_own({std::byte{198}, std::byte{18}, std::byte{0}, std::byte{10}});
  Octets other = arp(kRequest, 1, 0);
  for (unsigned i = 0; i < 65536; ++i) {
    other[40] = static_cast<std::uint8_t>(i >> 8U);
    other[41] = static_cast<std::uint8_t>(i);
    (void)is_vain(other);
  }
  for (int i = 0; i < 300; ++i) {
    ASSERT_FALSE(is_vain(arp(kRequest, 1, 9)));
    ASSERT_FALSE(is_vain(arp(kRequest, 1, 10)));
  }
}

/// An ARP request also tells where its sender is, and hosts that know another place take the new.
TEST_F(VainQuestion, FromASenderThatHasMovedIsSeen) {
  for (std::uint8_t host = 1; host <= 200; ++host) EXPECT_FALSE(is_vain(arp(kRequest, host, 201)));
  unsigned vain = 0;
  for (std::uint8_t host = 1; host <= 200; ++host) vain += is_vain(arp(kRequest, host, 201));
  EXPECT_GE(vain, 190U);  // more than four share a group of places
  Octets moved = arp(kRequest, 200, 201);
  moved[27] = 8;
  EXPECT_FALSE(is_vain(moved));
  EXPECT_TRUE(is_vain(moved));
}

TEST_F(VainQuestion, IsNoOtherFrame) {
  Octets tagged = arp(kRequest, 1, 9);
  tagged[12] = 0x81;
  Octets ethernet_of_another_length = arp(kRequest, 1, 9);
  ethernet_of_another_length[18] = 5;
  Octets far_neighbour = neighbour(kSolicitation, 1, 9);
  far_neighbour[21] = 254;  // the hop limit: it came through a router
  Octets another_operation = arp(kRequest, 1, 9);
  another_operation[20] = 1;  // 257
  Octets another_network = arp(kRequest, 1, 9);
  another_network[15] = 6;
  Octets another_protocol = arp(kRequest, 1, 9);
  another_protocol[16] = 0x86;
  another_protocol[17] = 0xdd;
  Octets no_ipv6 = neighbour(kSolicitation, 1, 9);
  no_ipv6[13] = 0xde;
  Octets no_icmp = neighbour(kSolicitation, 1, 9);
  no_icmp[20] = 17;
  Octets another_code = neighbour(kSolicitation, 1, 9);
  another_code[14 + 40 + 1] = 1;
  Octets cut = arp(kRequest, 1, 9);
  cut.pop_back();
  Octets cut6 = neighbour(kSolicitation, 1, 9);
  cut6.pop_back();
  const struct {
    const char* what;
    Octets frame;
  } kCases[] = {
      {"an answer", arp(kReply, 1, 9)},
      {"a question to this host alone", arp(kRequest, 1, 9, false)},
      {"an announcement", arp(kRequest, 9, 9)},
      {"a search for a duplicate, IPv6", neighbour(kSolicitation, 0, 9)},
      {"an advertisement", neighbour(kAdvertisement, 1, 9)},
      {"behind a tag", tagged},
      {"another kind of ARP", ethernet_of_another_length},
      {"an ARP operation whose low byte is that of a request", another_operation},
      {"ARP of another kind of network", another_network},
      {"ARP for another protocol", another_protocol},
      {"a solicitation from afar", far_neighbour},
      {"as a solicitation, but not IPv6", no_ipv6},
      {"as a solicitation, but UDP", no_icmp},
      {"a solicitation with a code", another_code},
      {"cut short", cut},
      {"cut short, IPv6", cut6},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.what);
    for (int i = 0; i < 300; ++i) ASSERT_FALSE(is_vain(c.frame));
  }
  EXPECT_EQ(looks_, 0U);
}

TEST_F(VainQuestion, ManyAddressesAreKept) {
  for (const bool ipv6 : {false, true}) {
    SCOPED_TRACE(ipv6 ? "IPv6" : "IPv4");
    questions_ = {};
    const auto vain_of_200 = [&] {
      unsigned vain = 0;
      for (std::uint8_t host = 1; host <= 200; ++host)
        vain += is_vain(ipv6 ? neighbour(kSolicitation, 201, host) : arp(kRequest, 0, host));
      return vain;
    };
    EXPECT_EQ(vain_of_200(), 0U);
    EXPECT_GT(vain_of_200(), 60U);  // 72 were asked for 128 frames ago; some share a place
    EXPECT_GT(vain_of_200(), 150U);
  }
}

}  // namespace
}  // namespace shmif::test

// The addresses of a host: what it says and hears about them on the bus, and its default MAC.

namespace shmif::tap {
namespace {

const MacAddress kOwn = *MacAddress::parse("b2:a0:00:00:00:01");
const MacAddress kOther = *MacAddress::parse("b2:a0:00:00:00:02");

/// A host with an address of each kind, and another port that hears it.
class AddressClaimTest : public ::testing::Test {
 protected:
  AddressClaimTest() {
    const std::string path = directory_.file("bus");
    Bus::create(path, {.ring_bytes = 1U << 20U}).value();
    for (Port* const port : {&own_, &other_}) {
      port->attach(path).value();
      EXPECT_FALSE(port->up());
    }
  }
  static std::string hex(std::span<const std::byte> bytes) {
    std::string text;
    for (const std::byte b : bytes) {
      constexpr const char* kDigits = "0123456789abcdef";
      text += kDigits[std::to_integer<unsigned>(b) >> 4U];
      text += kDigits[std::to_integer<unsigned>(b) & 15U];
    }
    return text;
  }
  std::vector<std::string> heard() {
    FrameBatch batch(16, 64U << 10U);
    static_cast<void>(other_.receive(batch));
    std::vector<std::string> all;
    for (const FrameView& frame : batch.frames()) all.push_back(hex(frame.bytes));
    return all;
  }
  /// Shows the host what the other one says about its addresses.
  void look_at_what_is_heard(AddressClaim& claim, MacAddress self = kOwn) {
    FrameBatch batch(16, 64U << 10U);
    static_cast<void>(own_.receive(batch));
    for (const FrameView& frame : batch.frames()) claim.look(frame, self);
  }

  shmif::test::TempDir directory_;
  Port own_{{.name = "own", .mac = kOwn}};
  Port other_{{.name = "other", .mac = kOther}};
  std::vector<Cidr> addresses_{Cidr::parse("198.18.0.1/24").value(),
                               Cidr::parse("fd00::1:2:3/64").value()};
  std::vector<std::pair<std::string, MacAddress>> conflicts_;
  AddressClaim claim_{addresses_, [this](const IpAddress& address, MacAddress owner) {
                        conflicts_.emplace_back(address.to_string(), owner);
                        return true;
                      }};
};

TEST_F(AddressClaimTest, ProbesNameNobodyAsTheSender) {
  claim_.probe(own_);
  EXPECT_EQ(heard(), (std::vector<std::string>{"ffffffffffff"
                                               "b2a000000001"
                                               "0806"
                                               "0001080006040001"
                                               "b2a000000001"
                                               "00000000"
                                               "000000000000"
                                               "c6120001",
                                               "3333ff020003"
                                               "b2a000000001"
                                               "86dd"
                                               "6000000000183aff"
                                               "00000000000000000000000000000000"
                                               "ff0200000000000000000001ff020003"
                                               "8700"
                                               "7d9c"
                                               "00000000"
                                               "fd000000000000000000000100020003"}));
}

TEST_F(AddressClaimTest, AnnouncementsNameTheHostAndOverrideWhatNeighboursKnew) {
  claim_.announce(own_);
  EXPECT_EQ(heard(), (std::vector<std::string>{"ffffffffffff"
                                               "b2a000000001"
                                               "0806"
                                               "0001080006040001"
                                               "b2a000000001"
                                               "c6120001"
                                               "000000000000"
                                               "c6120001",
                                               "333300000001"
                                               "b2a000000001"
                                               "86dd"
                                               "6000000000203aff"
                                               "fd000000000000000000000100020003"
                                               "ff020000000000000000000000000001"
                                               "8800"
                                               "a9f0"
                                               "20000000"
                                               "fd000000000000000000000100020003"
                                               "0201b2a000000001"}));
}

TEST_F(AddressClaimTest, ToldOnceOfAnotherHostAndThenKeepsQuiet) {
  const AddressClaim others(addresses_, {});
  others.announce(other_);
  others.announce(other_);
  look_at_what_is_heard(claim_);
  EXPECT_EQ(conflicts_, (std::vector<std::pair<std::string, MacAddress>>{{"198.18.0.1", kOther},
                                                                         {"fd00::1:2:3", kOther}}));
  claim_.announce(own_);
  EXPECT_TRUE(heard().empty());
  AddressClaim(addresses_, {}).probe(other_);  // a third host is about to take them
  FrameBatch batch(16, 64U << 10U);
  static_cast<void>(own_.receive(batch));
  ASSERT_EQ(batch.size(), 2U);
  for (const FrameView& frame : batch.frames()) EXPECT_FALSE(claim_.defend(frame, own_));
  EXPECT_TRUE(heard().empty()) << "it has given up the address";
}

TEST_F(AddressClaimTest, ItsOwnFramesOtherAddressesAndQuestionsAreNoConflict) {
  const AddressClaim others({Cidr::parse("198.18.0.2/24").value()}, {});
  others.announce(other_);
  AddressClaim(addresses_, {}).probe(other_);  // asks, and has none of them
  look_at_what_is_heard(claim_);
  AddressClaim(addresses_, {}).announce(other_);
  look_at_what_is_heard(claim_, kOther);  // its own, which a bridge has sent back
  // Another one tells where it is, as a proxy does.
  AddressClaim(addresses_, {}).announce(other_);
  FrameBatch batch(16, 64U << 10U);
  ASSERT_EQ(own_.receive(batch).frames, 2U);
  std::vector<std::byte> relayed(batch[0].bytes.begin(), batch[0].bytes.end());
  std::memcpy(&relayed[22], kOwn.bytes.data(), 6);
  claim_.look({relayed.data(), relayed.size()}, kOwn);
  EXPECT_TRUE(conflicts_.empty());
  claim_.announce(own_);
  EXPECT_EQ(heard().size(), 2U);
}

TEST_F(AddressClaimTest, DefendsAnIpv6AddressAgainstAHostThatIsAboutToTakeIt) {
  AddressClaim(addresses_, {}).probe(other_);
  AddressClaim({Cidr::parse("fd00::9/64").value()}, {}).probe(other_);
  claim_.probe(own_);
  FrameBatch batch(16, 64U << 10U);
  static_cast<void>(own_.receive(batch));
  ASSERT_EQ(batch.size(), 3U);
  std::vector<bool> answered;
  for (const FrameView& frame : batch.frames()) answered.push_back(claim_.defend(frame, own_));
  EXPECT_EQ(answered, (std::vector<bool>{false, true, false}));
  EXPECT_FALSE(claim_.defend(batch[1], other_)) << "its own question";
  AddressClaim asker(addresses_, [this](const IpAddress& address, MacAddress owner) {
    conflicts_.emplace_back(address.to_string(), owner);
    return true;
  });
  FrameBatch answers(16, 64U << 10U);
  static_cast<void>(other_.receive(answers));
  for (const FrameView& frame : answers.frames()) asker.look(frame, kOther);
  EXPECT_EQ(conflicts_, (std::vector<std::pair<std::string, MacAddress>>{{"fd00::1:2:3", kOwn}}));
}

TEST_F(AddressClaimTest, AnAddressThatIsItsOwnElsewhereIsAnnouncedAndAskedAboutAgain) {
  int asked = 0;
  AddressClaim mild(addresses_, [&](const IpAddress&, MacAddress) {
    ++asked;
    return false;
  });
  for (int round = 0; round < 2; ++round) {
    AddressClaim(addresses_, {}).announce(other_);
    look_at_what_is_heard(mild);
  }
  EXPECT_EQ(asked, 4);
  mild.announce(own_);
  EXPECT_EQ(heard().size(), 2U);
}

TEST_F(AddressClaimTest, NoPartOfAMessageIsLookedAtBehindItsEnd) {
  AddressClaim(addresses_, {}).announce(other_);
  FrameBatch batch(16, 64U << 10U);
  static_cast<void>(own_.receive(batch));
  for (const FrameView& frame : batch.frames()) {
    for (std::size_t size = 14; size < frame.size() - 8; ++size) {
      const std::vector<std::byte> cut(frame.bytes.begin(),
                                       frame.bytes.begin() + static_cast<std::ptrdiff_t>(size));
      claim_.look({cut.data(), cut.size()}, kOwn);
    }
  }
  EXPECT_TRUE(conflicts_.empty());
  // Whole, though without the option that names the sender's MAC address.
  claim_.look({batch[1].bytes.data(), batch[1].size() - 8}, kOwn);
  EXPECT_EQ(conflicts_, (std::vector<std::pair<std::string, MacAddress>>{{"fd00::1:2:3", kOther}}));
}

BusInfo some_bus() {
  BusInfo bus;
  bus.created_ns = 1'700'000'000'123'456'789U;
  bus.inode = 42;
  return bus;
}

TEST_F(AddressClaimTest, WhatDiffersInItsHeadersIsNeitherAConflictNorAQuestion) {
  const auto sent_by = [&](const std::function<void(const AddressClaim&)>& send) {
    send(AddressClaim(addresses_, {}));
    FrameBatch batch(16, 64U << 10U);
    static_cast<void>(own_.receive(batch));
    std::vector<std::vector<std::byte>> all;
    for (const FrameView& each : batch.frames())
      all.emplace_back(each.bytes.begin(), each.bytes.end());
    return all;
  };
  const auto announced = sent_by([&](const AddressClaim& claim) { claim.announce(other_); });
  const auto probed = sent_by([&](const AddressClaim& claim) { claim.probe(other_); });
  ASSERT_EQ(announced.size(), 2U);
  ASSERT_EQ(probed.size(), 2U);
  const auto changed = [](std::vector<std::byte> bytes, std::size_t at) {
    bytes.at(at) ^= std::byte{0x40};
    return bytes;
  };
  const auto look = [&](const std::vector<std::byte>& bytes) {
    claim_.look(FrameView(bytes.data(), bytes.size()), kOwn);
    return conflicts_.size();
  };
  // Up to the first byte of the operation.
  for (std::size_t at = 12; at <= 20; ++at) EXPECT_EQ(look(changed(announced[0], at)), 0U) << at;
  for (const std::size_t at : {28U, 31U}) EXPECT_EQ(look(changed(announced[0], at)), 0U) << at;
  // EtherType, protocol, hop limit, type, code, and the address.
  for (const std::size_t at : {12U, 13U, 20U, 21U, 54U, 55U, 62U, 77U})
    EXPECT_EQ(look(changed(announced[1], at)), 0U) << at;
  const auto defends = [&](const std::vector<std::byte>& bytes) {
    return claim_.defend(FrameView(bytes.data(), bytes.size()), own_);
  };
  EXPECT_FALSE(defends(probed[0])) << "the kernel answers ARP";
  for (const std::size_t at : {12U, 13U, 20U, 21U, 54U, 62U, 77U})
    EXPECT_FALSE(defends(changed(probed[1], at))) << at;
  for (std::size_t at = 22; at < 38; ++at)
    EXPECT_FALSE(defends(changed(probed[1], at))) << at << ": from a host that has an address";
  EXPECT_TRUE(heard().empty());
  EXPECT_TRUE(defends(probed[1]));
  const std::vector<std::string> answer = heard();
  claim_.announce(own_);
  const std::vector<std::string> announcement = heard();
  ASSERT_EQ(announcement.size(), 2U);
  EXPECT_EQ(answer, std::vector<std::string>{announcement[1]});
  EXPECT_EQ(look(announced[0]), 1U);
  EXPECT_EQ(look(announced[1]), 2U);
}

TEST(HostMac, FollowsFromBusAndNameAndFromEachPartOfThem) {
  BusInfo copy = some_bus();
  copy.inode = 43;
  BusInfo later = some_bus();
  ++later.created_ns;
  const std::set<MacAddress> all{host_mac(some_bus(), "web"),  host_mac(some_bus(), "wec"),
                                 host_mac(some_bus(), "web2"), host_mac(some_bus(), "web", 1),
                                 host_mac(copy, "web"),        host_mac(later, "web"),
                                 device_mac(some_bus(), "web")};
  EXPECT_EQ(all.size(), 7U) << "each of them is another one";
  EXPECT_EQ(host_mac(some_bus(), "web"), host_mac(some_bus(), "web"));
  for (const MacAddress& mac : all) {
    EXPECT_EQ(mac.bytes[0], 0xb2) << "locally administered, and not a group";
    EXPECT_EQ(mac.bytes[1], 0xa0);
  }
}

TEST(HostMac, APortTakesItAndTheNextOneWhereAnotherPortHasIt) {
  const shmif::test::TempDir directory;
  const std::string path = directory.file("bus");
  Bus::create(path, {.ring_bytes = 1U << 20U}).value();
  const Bus bus = Bus::open(path).value();
  Port first({.name = "first", .mac = host_mac(bus.info(), "web")});
  first.attach(bus).value();
  Port web({.name = "web"});
  web.attach(bus).value();
  take_host_mac(web, bus.info());
  EXPECT_EQ(web.mac(), host_mac(bus.info(), "web", 1));
  ASSERT_FALSE(first.set_mac(device_mac(bus.info(), "tap0")));
  take_host_mac(web, bus.info());
  EXPECT_EQ(web.mac(), host_mac(bus.info(), "web"));
  EXPECT_NE(device_mac(bus.info(), "tap0"), first.mac()) << "a port has it";
}

TEST(HostMac, OnlyThePortOfALivingProcessKeepsItFromADevice) {
  const MacAddress usual = device_mac(some_bus(), "tap0");
  BusInfo bus = some_bus();
  PortInfo& port = bus.ports.emplace_back();
  port.mac = usual;
  port.live = true;
  EXPECT_NE(device_mac(bus, "tap0"), usual);
  port.live = false;
  EXPECT_EQ(device_mac(bus, "tap0"), usual);
}

TEST(HostMac, ADeviceHasARandomOneWhereTheBusDoesNotTellItsPorts) {
  BusInfo bus = some_bus();
  EXPECT_EQ(device_mac(bus, "tap0"), device_mac(bus, "tap0"));
  bus.format = BusFormat::netbsd;
  bus.netbsd = BusInfo::Netbsd{};
  EXPECT_NE(device_mac(bus, "tap0"), device_mac(bus, "tap0"));
}

}  // namespace
}  // namespace shmif::tap
