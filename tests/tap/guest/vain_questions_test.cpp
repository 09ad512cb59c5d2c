// Which questions for addresses a host that is far behind need not see.

#include "tap/guest/neighbours.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

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
  for (const Octets& question : {arp(kRequest, 1, 9), arp(kRequest, 1, 10),
                                 neighbour(kSolicitation, 1, 9), neighbour(kSolicitation, 1, 10)}) {
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
