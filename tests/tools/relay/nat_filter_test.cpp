// NatFilter: which frames pass between a bus and the program behind a gateway.

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bus/offload.hpp"
#include "shmif/loopback_link.hpp"
#include "tests/support/eventually.hpp"
#include "tools/relay/nat_filter.hpp"

namespace shmif::tools::nat_filtering {
namespace {

// Frames for NatFilter, and what it says of them.

using enum NatRefusal;
using Bytes = std::vector<std::uint8_t>;
using Verdict = std::optional<NatRefusal>;

constexpr NatFlows::Time kNow{std::chrono::hours(1)};

const MacAddress kHostMac = *MacAddress::parse("b2:a0:00:00:00:15");
const MacAddress kGatewayMac = *MacAddress::parse("52:55:0a:00:02:02");
const MacAddress kNameServerMac = *MacAddress::parse("52:55:0a:00:02:03");
const MacAddress kOtherMac = *MacAddress::parse("b2:a0:00:00:00:16");
const MacAddress kEveryMac = *MacAddress::parse("ff:ff:ff:ff:ff:ff");

void put16(Bytes& bytes, std::size_t at, unsigned number) {
  bytes.at(at) = static_cast<std::uint8_t>(number >> 8U);
  bytes.at(at + 1) = static_cast<std::uint8_t>(number);
}
void put_address(Bytes& bytes, std::size_t at, const std::string& text) {
  ASSERT_EQ(::inet_pton(AF_INET, text.c_str(), &bytes.at(at)), 1) << text;
}
void put_mac(Bytes& bytes, std::size_t at, const MacAddress& mac) {
  std::copy(mac.bytes.begin(), mac.bytes.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
}

/// A frame with an IPv4 packet.
struct Ip {
  std::string from = "10.0.2.15", to = "198.18.9.1";
  MacAddress from_mac = kHostMac, to_mac = kGatewayMac;
  std::uint8_t protocol = IPPROTO_UDP;
  unsigned from_port = 4000, to_port = 8001;  ///< of ICMP, from_port is type and code
  unsigned type = 0x0800;
  std::uint8_t first = 0x45;
  unsigned fragment = 0;
  std::size_t payload = 26;
  std::size_t padding = 0;
  int length = -1;      ///< in the header
  int udp_length = -1;  ///< in that of UDP
  std::uint8_t tcp_offset = 0x50, tcp_flags = kTcpAck;

  Bytes bytes() const {
    Bytes frame(14 + 20 + payload + padding);
    put_mac(frame, 0, to_mac);
    put_mac(frame, 6, from_mac);
    put16(frame, 12, type);
    frame[14] = first;
    put16(frame, 16,
          length < 0 ? static_cast<unsigned>(20 + payload) : static_cast<unsigned>(length));
    put16(frame, 20, fragment);
    frame[22] = 64;
    frame[23] = protocol;
    put_address(frame, 26, from);
    put_address(frame, 30, to);
    if (payload >= 4) {
      put16(frame, 34, from_port);
      put16(frame, 36, to_port);
    }
    if (protocol == IPPROTO_UDP && payload >= 6)
      put16(frame, 38,
            static_cast<unsigned>(udp_length < 0 ? static_cast<int>(payload) : udp_length));
    if (protocol == IPPROTO_TCP && payload >= 14) {
      frame[46] = tcp_offset;
      frame[47] = tcp_flags;
    }
    return frame;
  }
};

struct Arp {
  std::string sender = "10.0.2.15", target = "10.0.2.2";
  unsigned operation = 1;
  MacAddress to_mac = kEveryMac;
  unsigned hardware = 1, sizes = 0x0604;

  Bytes bytes() const {
    Bytes frame(42);
    put_mac(frame, 0, to_mac);
    put_mac(frame, 6, kHostMac);
    put16(frame, 12, 0x0806);
    put16(frame, 14, hardware);
    put16(frame, 16, 0x0800);
    put16(frame, 18, sizes);
    put16(frame, 20, operation);
    put_mac(frame, 22, kHostMac);
    put_address(frame, 28, sender);
    put_address(frame, 38, target);
    return frame;
  }
};

bool to_one(std::uint32_t) {
  return false;
}
constexpr NatFlowLimits kFew{.hosts = 8, .of_host = 8};

class NatFilterTest : public ::testing::Test {
 protected:
  NatWish wish_{.program = NatProgram::slirp4netns};

  Verdict judge(NatWay way, const Bytes& bytes) const {
    NatFilter filter(wish_, to_one, kFew);
    return judge(filter, way, bytes);
  }
  static Verdict judge(NatFilter& filter, NatWay way, const Bytes& bytes,
                       NatFlows::Time now = kNow) {
    return filter.judge(way, FrameView(bytes.data(), bytes.size()), now);
  }
  Verdict out(const Ip& ip) const { return judge(NatWay::out, ip.bytes()); }
  Verdict asks(const Arp& arp) const { return judge(NatWay::out, arp.bytes()); }
  /// The answer to that packet, after it.
  Verdict in(const Ip& ip) const {
    NatFilter filter(wish_, to_one, kFew);
    static_cast<void>(judge(filter, NatWay::out, ip.bytes()));
    return judge(filter, NatWay::in, answer_to(ip).bytes());
  }
  static Ip answer_to(Ip ip) {
    std::swap(ip.from, ip.to);
    std::swap(ip.from_port, ip.to_port);
    ip.from_mac = kGatewayMac;
    ip.to_mac = kHostMac;
    return ip;
  }
};

TEST_F(NatFilterTest, LetsTheWorldBeReachedAndAnswer) {
  for (const char* const there :
       {"198.18.9.1", "1.0.0.0", "9.255.255.255", "11.0.0.0", "126.255.255.255", "128.0.0.0",
        "169.253.255.255", "169.255.0.0", "223.255.255.255", "10.0.1.254", "10.0.3.0"}) {
    for (const std::uint8_t protocol : {IPPROTO_TCP, IPPROTO_UDP}) {
      EXPECT_EQ(out({.to = there, .protocol = protocol}), Verdict()) << there;
      EXPECT_EQ(in({.to = there, .protocol = protocol}), Verdict()) << there;
    }
  }
  for (const char* const host : {"10.0.2.1", "10.0.2.4", "10.0.2.100", "10.0.2.254"})
    EXPECT_EQ(out({.from = host}), Verdict()) << host;
}

TEST_F(NatFilterTest, KeepsWhatIsForThisMachineOrForAllMachinesAroundItBothWays) {
  const std::pair<const char*, NatRefusal> all[] = {{"127.0.0.1", loopback},
                                                    {"127.0.0.53", loopback},
                                                    {"127.0.0.0", loopback},
                                                    {"127.255.255.255", loopback},
                                                    {"0.0.0.0", loopback},
                                                    {"0.0.0.1", loopback},
                                                    {"0.255.255.255", loopback},
                                                    {"169.254.0.0", link_local},
                                                    {"169.254.169.254", link_local},
                                                    {"169.254.255.255", link_local},
                                                    {"224.0.0.0", group},
                                                    {"224.0.0.251", group},
                                                    {"239.255.255.255", group},
                                                    {"255.255.255.255", group},
                                                    {"10.0.2.255", group},
                                                    {"10.0.2.0", group}};
  for (const NatProgram program : {NatProgram::slirp4netns, NatProgram::passt}) {
    for (const bool loopback : {false, true}) {
      wish_ = {.program = program, .loopback = loopback};
      for (const auto& [address, why] : all) {
        for (const std::uint8_t protocol : {IPPROTO_TCP, IPPROTO_UDP}) {
          EXPECT_EQ(out({.to = address, .protocol = protocol}), why) << address;
          EXPECT_EQ(in({.to = address, .protocol = protocol}), why) << address;
        }
        EXPECT_NE(out({.to = address, .to_mac = kEveryMac}), Verdict()) << address << ", broadcast";
        EXPECT_NE(out({.to = address, .to_mac = kOtherMac}), Verdict())
            << address << ", for others";
      }
    }
  }
}

TEST_F(NatFilterTest, LetsLinkLocalAddressesBeReachedWhereThatWasAskedFor) {
  wish_.link_local = true;
  EXPECT_EQ(out({.to = "169.254.169.254"}), Verdict());
  EXPECT_EQ(in({.to = "169.254.169.254"}), Verdict());
  EXPECT_EQ(out({.to = "127.0.0.1"}), loopback);
  EXPECT_EQ(out({.from = "169.254.3.3"}), stranger);
}

TEST_F(NatFilterTest, KeepsBroadcastsOfThisMachinesNetworksButNotItsAddresses) {
  constexpr std::uint32_t kBroadcast = 0xc6124dff;  // 198.18.77.255
  std::vector<std::uint32_t> asked;
  bool is_one = true;
  NatFilter filter(wish_, [&](std::uint32_t address) {
    asked.push_back(address);
    return is_one && address == kBroadcast;
  });
  const auto out = [&](const char* to, NatFlows::Time now) {
    return judge(filter, NatWay::out, Ip{.to = to}.bytes(), now);
  };
  EXPECT_EQ(out("198.18.77.255", kNow), group);
  EXPECT_EQ(out("198.18.77.1", kNow), Verdict());
  EXPECT_EQ(judge(filter, NatWay::in, answer_to({.to = "198.18.77.255"}).bytes()), unasked);
  const std::vector<std::uint32_t> once{kBroadcast, 0xc6124d01};
  EXPECT_EQ(asked, once);
  for (unsigned i = 0; i < 10; ++i) {
    EXPECT_EQ(out("198.18.77.255", kNow + std::chrono::milliseconds(4999)), group);
    EXPECT_EQ(out("198.18.77.1", kNow + std::chrono::milliseconds(4999)), Verdict());
  }
  EXPECT_EQ(asked, once) << "the answer is good for 5 s";
  is_one = false;
  EXPECT_EQ(out("198.18.77.255", kNow + std::chrono::seconds(5)), Verdict());
  is_one = true;
  EXPECT_EQ(out("198.18.77.255", kNow + std::chrono::seconds(9)), Verdict());
  EXPECT_EQ(out("198.18.77.255", kNow + std::chrono::seconds(10)), group) << "also for a flow";
  asked.clear();
  static_cast<void>(out("127.0.0.1", kNow + std::chrono::seconds(20)));
  static_cast<void>(out("10.0.2.3", kNow + std::chrono::seconds(20)));
  EXPECT_TRUE(asked.empty()) << "where the rules decide";
}

TEST_F(NatFilterTest, KeepsWhatDoesNotComeFromAHostOfTheNetworkOrGoToOne) {
  for (const char* const address :
       {"10.0.2.2", "10.0.2.3", "10.0.2.0", "10.0.2.255", "10.0.3.15", "198.18.0.5", "0.0.0.0",
        "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255"}) {
    EXPECT_EQ(out({.from = address}), stranger) << address;
    EXPECT_EQ(in({.from = address}), stranger) << address;
  }
}

TEST_F(NatFilterTest, KeepsWhatIsNotPlainIpv4) {
  for (const unsigned type :
       {0x86ddU, 0x8100U, 0x88a8U, 0x9100U, 0x88f8U, 0x8864U, 0x0026U, 0x0U}) {
    EXPECT_EQ(out({.type = type}), NatRefusal::protocol) << type;
    EXPECT_EQ(in({.type = type}), NatRefusal::protocol) << type;
  }
  for (const int number : {2, 4, 41, 47, 50, 132, 255})
    EXPECT_EQ(out({.protocol = static_cast<std::uint8_t>(number)}), NatRefusal::protocol) << number;
}

TEST_F(NatFilterTest, KeepsWhatCanBeReadInTwoWays) {
  const std::pair<const char*, Ip> all[] = {
      {"no header", {.first = 0x40}},
      {"a short header", {.first = 0x44}},
      {"options", {.first = 0x46}},
      {"most options", {.first = 0x4f}},
      {"IPv6 in IPv4's clothes", {.first = 0x65}},
      {"longer than the frame", {.length = 47}},
      {"no room for the header", {.length = 19}},
      {"length 0", {.length = 0}},
      {"half a UDP header", {.payload = 7}},
      {"half a TCP header", {.protocol = IPPROTO_TCP, .payload = 19}},
      {"UDP longer than the packet", {.udp_length = 27}},
      {"UDP shorter than its header", {.udp_length = 7}},
      {"a TCP header longer than the packet", {.protocol = IPPROTO_TCP, .tcp_offset = 0x70}},
      {"a TCP header that is too short", {.protocol = IPPROTO_TCP, .tcp_offset = 0x4f}},
      {"the reserved bit", {.fragment = 0x8000}},
      {"the reserved bit of a fragment", {.fragment = 0xa001}}};
  for (const auto& [what, ip] : all) {
    EXPECT_EQ(out(ip), unreadable) << what;
    EXPECT_EQ(in(ip), unreadable) << what;
  }
  EXPECT_EQ(out({.padding = 6}), Verdict());
  EXPECT_EQ(out({.fragment = 0x4000}), Verdict()) << "do not fragment";
  Bytes whole = Ip().bytes();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    whole.resize(size);
    EXPECT_NE(judge(NatWay::out, whole), Verdict()) << size;
    whole = Ip().bytes();
  }
  NatFilter filter(wish_, to_one, kFew);
  FrameView cut(whole.data(), whole.size());
  cut.true_bytes = static_cast<std::uint32_t>(whole.size()) + 1;
  EXPECT_EQ(filter.judge(NatWay::out, cut, kNow), unreadable);
  FrameView unfinished(whole.data(), whole.size());
  unfinished.offload.flags = Offload::kNeedsChecksum;
  EXPECT_EQ(filter.judge(NatWay::out, unfinished, kNow), unreadable);
}

TEST_F(NatFilterTest, KeepsTcpThatBeginsWithUnreadableOptionsOrTooSmallSegments) {
  // Ends, gaps, the usual ones of Linux, and those that only look wrong.
  const Bytes sound[] = {{},
                         {0, 0, 0, 0},
                         {1, 1, 1, 1},
                         {2, 4, 0, 48},
                         {2, 4, 255, 255},
                         {0, 2, 4, 0},
                         {2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7},
                         {3, 3, 255, 1},
                         {254, 4, 0, 0}};
  const Bytes others[] = {{2, 4, 0, 0},
                          {2, 4, 0, 3},
                          {2, 4, 0, 47},
                          {1, 2, 4, 0, 0, 0, 0, 0},
                          {2, 4, 5, 180, 2, 4, 0, 0},
                          {2, 0, 0, 0},
                          {2, 1, 5, 180},
                          {2, 2, 0, 0},
                          {2, 3, 5, 0},
                          {2, 5, 5, 180, 0, 0, 0, 0},
                          {8, 10, 1, 2},
                          {1, 1, 1, 2},
                          {1, 1, 1, 254},
                          {254, 5, 0, 0}};
  const auto with = [](const Bytes& options, std::uint8_t flags) {
    const std::size_t header = 20 + options.size();
    Bytes bytes = Ip{.protocol = IPPROTO_TCP,
                     .payload = header + 6,
                     .tcp_offset = static_cast<std::uint8_t>(header / 4 << 4U),
                     .tcp_flags = flags}
                      .bytes();
    std::copy(options.begin(), options.end(), bytes.begin() + 54);
    return bytes;
  };
  for (const Bytes& options : sound) {
    EXPECT_EQ(judge(NatWay::out, with(options, kTcpSyn)), std::nullopt)
        << ::testing::PrintToString(options);
  }
  for (const Bytes& options : others) {
    const std::string text = ::testing::PrintToString(options);
    EXPECT_EQ(judge(NatWay::out, with(options, kTcpSyn)), unreadable) << text;
    EXPECT_EQ(judge(NatWay::out, with(options, kTcpSyn | kTcpAck)), unreadable) << text;
    EXPECT_EQ(judge(NatWay::out, with(options, 0xff)), unreadable) << text;
    EXPECT_EQ(judge(NatWay::out, with(options, kTcpAck)), std::nullopt) << text;
  }
}

TEST_F(NatFilterTest, KeepsFragmentsBothWays) {
  for (const unsigned fragment : {0x2000U, 0x0001U, 0x2002U, 0x0007U, 0x20b9U, 0x1fffU, 0x6000U}) {
    for (const std::uint8_t protocol : {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP}) {
      for (const char* const there : {"198.18.9.1", "10.0.2.3", "127.0.0.1"}) {
        const Ip ip{.to = there, .protocol = protocol, .fragment = fragment};
        EXPECT_EQ(out(ip), NatRefusal::fragment) << there << ' ' << fragment;
        EXPECT_EQ(in(ip), NatRefusal::fragment) << there << ' ' << fragment;
      }
    }
  }
  EXPECT_EQ(out({.from = "0.0.0.0",
                 .to = "255.255.255.255",
                 .to_mac = kEveryMac,
                 .from_port = 68,
                 .to_port = 67,
                 .fragment = 0x2000}),
            NatRefusal::fragment)
      << "also of DHCP";
}

/// An ICMP packet; `id` is that of a ping.
Ip icmp(unsigned type, const char* to = "198.18.9.1") {
  return {.to = to, .protocol = IPPROTO_ICMP, .from_port = type << 8U, .to_port = 0};
}
Bytes with_id(Bytes bytes, unsigned id) {
  put16(bytes, 38, id);
  return bytes;
}

TEST_F(NatFilterTest, LetsOnlyPingsPassOfIcmp) {
  NatFilter filter(wish_, to_one, kFew);
  for (unsigned type = 0; type < 256; ++type) {
    EXPECT_EQ(judge(filter, NatWay::out, icmp(type).bytes()), type == 8 ? Verdict() : other_icmp)
        << type;
    const bool answers = type == 0 || type == 3 || type == 11;
    Ip ip = answer_to(icmp(0));
    ip.from_port = type << 8U;
    EXPECT_EQ(judge(filter, NatWay::in, ip.bytes()) == other_icmp, !answers) << type;
  }
  EXPECT_EQ(out(icmp(8, "127.0.0.1")), loopback);
  EXPECT_EQ(out(icmp(8, "10.0.2.2")), Verdict());
  EXPECT_EQ(out(icmp(8, "10.0.2.3")), Verdict());
  EXPECT_EQ(out(icmp(8, "10.0.2.4")), others);
}

TEST_F(NatFilterTest, LetsAPingBeAnsweredByItsNumberAndItsAddress) {
  NatFilter filter(wish_, to_one, kFew);
  const auto reply = [&](const char* from, unsigned id) {
    Ip ip = answer_to(icmp(0, from));
    ip.from_port = 0;
    return judge(filter, NatWay::in, with_id(ip.bytes(), id));
  };
  EXPECT_EQ(reply("198.18.9.1", 7), unasked);
  EXPECT_EQ(judge(filter, NatWay::out, with_id(icmp(8).bytes(), 7)), Verdict());
  EXPECT_EQ(reply("198.18.9.1", 7), Verdict());
  EXPECT_EQ(reply("198.18.9.1", 8), unasked);
  EXPECT_EQ(reply("198.18.9.2", 7), unasked);
}

TEST_F(NatFilterTest, LetsOnlyAnswersIn) {
  for (const std::uint8_t protocol : {IPPROTO_TCP, IPPROTO_UDP}) {
    const Ip asked{.protocol = protocol};
    const Ip answer = answer_to(asked);
    NatFilter filter(wish_, to_one, kFew);
    EXPECT_EQ(judge(filter, NatWay::in, answer.bytes()), unasked);
    EXPECT_EQ(judge(filter, NatWay::out, asked.bytes()), Verdict());
    const auto in = [&](auto change) {
      Ip ip = answer;
      change(ip);
      return judge(filter, NatWay::in, ip.bytes());
    };
    EXPECT_EQ(in([](Ip&) {}), Verdict());
    EXPECT_EQ(in([](Ip& ip) { ip.from = "198.18.9.2"; }), unasked) << "another machine";
    EXPECT_EQ(in([](Ip& ip) { ip.to = "10.0.2.16"; }), unasked) << "for another host";
    EXPECT_EQ(in([](Ip& ip) { ++ip.from_port; }), unasked) << "another port";
    EXPECT_EQ(in([](Ip& ip) { ++ip.to_port; }), unasked) << "for another port";
    EXPECT_EQ(
        in([](Ip& ip) { ip.protocol = ip.protocol == IPPROTO_TCP ? IPPROTO_UDP : IPPROTO_TCP; }),
        unasked);
    const Verdict begins = protocol == IPPROTO_TCP ? Verdict(unasked) : Verdict();
    EXPECT_EQ(in([](Ip& ip) { ip.tcp_flags = kTcpSyn; }), begins) << "nobody opens a connection";
    EXPECT_EQ(in([](Ip& ip) { ip.tcp_flags = kTcpSyn | kTcpAck; }), Verdict());
    const NatFlows::Time later = kNow + std::chrono::minutes(6);
    EXPECT_EQ(judge(filter, NatWay::in, answer.bytes(), later), unasked) << "too late";
  }
}

TEST_F(NatFilterTest, LetsErrorsInThatQuoteWhatAHostSent) {
  NatFilter filter(wish_, to_one, kFew);
  const Ip asked{.protocol = IPPROTO_UDP};
  EXPECT_EQ(judge(filter, NatWay::out, asked.bytes()), Verdict());
  EXPECT_EQ(judge(filter, NatWay::out, with_id(icmp(8).bytes(), 7)), Verdict());
  EXPECT_EQ(judge(filter, NatWay::out, Ip{.protocol = IPPROTO_TCP, .to_port = 80}.bytes()),
            Verdict());
  unsigned type = 3;
  const auto error = [&](const Bytes& quoted, const char* from = "198.18.0.1",
                         const char* to = "10.0.2.15", std::size_t quoted_bytes = 28) {
    Ip ip{.from = from,
          .to = to,
          .from_mac = kGatewayMac,
          .to_mac = kHostMac,
          .protocol = IPPROTO_ICMP,
          .from_port = type << 8U | 1U,
          .payload = 8 + quoted_bytes};
    Bytes bytes = ip.bytes();
    std::copy_n(quoted.begin() + 14, quoted_bytes, bytes.begin() + 42);
    return judge(filter, NatWay::in, bytes);
  };
  EXPECT_EQ(error(asked.bytes()), Verdict()) << "of any router";
  EXPECT_EQ(error(Ip{.protocol = IPPROTO_TCP, .to_port = 80}.bytes()), Verdict());
  type = 11;
  EXPECT_EQ(error(asked.bytes()), Verdict()) << "a hop on the way to it";
  EXPECT_EQ(error(Ip{.to_port = 8002}.bytes()), unasked);
  type = 3;
  EXPECT_EQ(error(asked.bytes(), "10.0.2.2"), Verdict()) << "the gateway sends them, too";
  EXPECT_EQ(error(with_id(icmp(8).bytes(), 7)), Verdict());
  EXPECT_EQ(error(asked.bytes(), "127.0.0.1"), loopback);
  EXPECT_EQ(error(asked.bytes(), "198.18.0.1", "10.0.2.16"), unasked) << "not for the sender";
  EXPECT_EQ(error(asked.bytes(), "198.18.0.1", "10.0.2.15", 27), unasked) << "without the ports";
  EXPECT_EQ(error(with_id(icmp(8).bytes(), 8)), unasked);
  EXPECT_EQ(error(with_id(icmp(0).bytes(), 7)), unasked) << "no ping";
  const std::pair<const char*, Ip> others[] = {{"another port", {.to_port = 8002}},
                                               {"another of the host's", {.from_port = 4001}},
                                               {"another machine", {.to = "198.18.9.2"}},
                                               {"another protocol", {.protocol = IPPROTO_TCP}},
                                               {"another host", {.from = "10.0.2.16"}},
                                               {"a fragment", {.fragment = 0x2000}},
                                               {"options", {.first = 0x46}}};
  for (const auto& [what, ip] : others) EXPECT_EQ(error(ip.bytes()), unasked) << what;
}

TEST_F(NatFilterTest, LetsNoHostUseTheRoomOfOthers) {
  NatFilter filter(wish_, to_one, kFew);
  const Ip first{.from = "10.0.2.100", .protocol = IPPROTO_TCP};
  EXPECT_EQ(judge(filter, NatWay::out, first.bytes()), Verdict());
  for (unsigned i = 0; i < 100'000; ++i) {
    const Ip flood{.from_port = i % 50'000, .to_port = 1 + i / 50'000};
    ASSERT_EQ(judge(filter, NatWay::out, flood.bytes()), Verdict()) << i;
  }
  EXPECT_EQ(judge(filter, NatWay::in, answer_to(first).bytes()), Verdict());
}

TEST_F(NatFilterTest, LetsTheGatewayServeWhatItServesAndNoMore) {
  const auto served = [&](const char* to, std::uint8_t protocol, unsigned port) {
    const Ip asked{.to = to, .protocol = protocol, .to_port = port};
    EXPECT_EQ(out(asked), in(asked)) << to << ' ' << port;
    return out(asked);
  };
  for (const NatProgram program : {NatProgram::slirp4netns, NatProgram::passt}) {
    const bool slirp = program == NatProgram::slirp4netns;
    for (const bool loopback : {false, true}) {
      wish_ = {.program = program, .loopback = loopback};
      const Verdict rest = loopback ? Verdict() : closed;
      EXPECT_EQ(served("10.0.2.2", IPPROTO_UDP, 67), Verdict());
      for (const unsigned port : {1U, 53U, 66U, 68U, 69U, 80U, 65535U}) {
        EXPECT_EQ(served("10.0.2.2", IPPROTO_UDP, port), rest) << port;
        EXPECT_EQ(served("10.0.2.2", IPPROTO_TCP, port), rest) << port;
      }
      EXPECT_EQ(served("10.0.2.2", IPPROTO_TCP, 67), rest);
      EXPECT_EQ(served("10.0.2.3", IPPROTO_UDP, 53), slirp ? Verdict() : others);
      EXPECT_EQ(served("10.0.2.3", IPPROTO_TCP, 53), slirp ? Verdict() : others);
      EXPECT_EQ(served("10.0.2.3", IPPROTO_UDP, 67), slirp ? closed : others);
      EXPECT_EQ(served("10.0.2.3", IPPROTO_TCP, 80), slirp ? closed : others);
      for (const char* const host : {"10.0.2.1", "10.0.2.4", "10.0.2.100"})
        EXPECT_EQ(served(host, IPPROTO_TCP, 80), others) << host;
    }
  }
}

TEST_F(NatFilterTest, LetsPasstServeNamesWhereHostsCannotReachTheResolverItself) {
  wish_.program = NatProgram::passt;
  const auto asked = [&](const char* to, std::uint8_t protocol, unsigned port) {
    return out({.to = to, .protocol = protocol, .to_port = port});
  };
  wish_.resolver = *tap::IpAddress::parse("127.0.0.53");
  EXPECT_EQ(asked("10.0.2.2", IPPROTO_UDP, 53), Verdict());
  EXPECT_EQ(asked("10.0.2.2", IPPROTO_TCP, 53), closed) << "it would lead to 127.0.0.1";
  EXPECT_EQ(asked("10.0.2.2", IPPROTO_UDP, 54), closed);
  EXPECT_EQ(asked("127.0.0.53", IPPROTO_UDP, 53), loopback);
  EXPECT_EQ(asked("10.0.2.3", IPPROTO_UDP, 53), others);
  wish_.resolver = *tap::IpAddress::parse("10.0.2.9");
  for (const std::uint8_t protocol : {IPPROTO_UDP, IPPROTO_TCP}) {
    EXPECT_EQ(asked("10.0.2.9", protocol, 53), Verdict());
    EXPECT_EQ(asked("10.0.2.9", protocol, 80), closed);
    EXPECT_EQ(asked("10.0.2.2", protocol, 53), closed);
  }
  EXPECT_EQ(out(icmp(8, "10.0.2.9")), closed);
  EXPECT_EQ(out(icmp(8, "10.0.2.2")), closed) << "it would lead to 127.0.0.1";
  EXPECT_EQ(asks({.target = "10.0.2.9"}), Verdict());
  EXPECT_EQ(out({.from = "10.0.2.9"}), stranger);
  wish_.resolver = *tap::IpAddress::parse("198.18.0.53");
  EXPECT_EQ(asked("198.18.0.53", IPPROTO_TCP, 53), Verdict());
  EXPECT_EQ(asked("10.0.2.2", IPPROTO_UDP, 53), closed);
}

// passt answers no ping there, and sends errors from there all the same.
TEST_F(NatFilterTest, LetsErrorsOfTheGatewayInWhereItServesNoPings) {
  wish_.program = NatProgram::passt;
  NatFilter filter(wish_, to_one, kFew);
  const Bytes asked = Ip{}.bytes();
  EXPECT_EQ(judge(filter, NatWay::out, asked), Verdict());
  Bytes error = Ip{.from = "10.0.2.2",
                   .to = "10.0.2.15",
                   .from_mac = kGatewayMac,
                   .to_mac = kHostMac,
                   .protocol = IPPROTO_ICMP,
                   .from_port = 3U << 8U,
                   .payload = 8 + 28}
                    .bytes();
  std::copy_n(asked.begin() + 14, 28, error.begin() + 42);
  EXPECT_EQ(judge(filter, NatWay::in, error), Verdict());
}

TEST_F(NatFilterTest, LetsDhcpBeBroadcastAndNothingElse) {
  const Ip discover{.from = "0.0.0.0",
                    .to = "255.255.255.255",
                    .to_mac = kEveryMac,
                    .from_port = 68,
                    .to_port = 67};
  EXPECT_EQ(out(discover), Verdict());
  Ip ip = discover;
  ip.from = "10.0.2.15";
  EXPECT_EQ(out(ip), Verdict()) << "a host that binds again";
  ip.to = "10.0.2.2";
  EXPECT_EQ(out(ip), Verdict()) << "a host that renews";
  for (const unsigned port : {66U, 68U, 69U, 53U, 5353U}) {
    ip = discover;
    ip.to_port = port;
    EXPECT_NE(out(ip), Verdict()) << port;
    ip.from = "10.0.2.15";
    EXPECT_EQ(out(ip), group) << port;
  }
  ip = discover;
  ip.from_port = 67;
  EXPECT_EQ(out(ip), stranger);
  for (const char* const to : {"224.0.0.1", "127.0.0.1", "10.0.2.255"}) {
    ip = discover;
    ip.to = to;
    EXPECT_NE(out(ip), Verdict()) << to;
  }
  EXPECT_EQ(out({.to_mac = kEveryMac}), group) << "for one machine, broadcast";
  const auto reply = [&](const char* from, const char* to, unsigned port) {
    return judge(
        NatWay::in,
        Ip{.from = from, .to = to, .to_mac = kEveryMac, .from_port = 67, .to_port = port}.bytes());
  };
  EXPECT_EQ(reply("10.0.2.2", "255.255.255.255", 68), Verdict());
  EXPECT_EQ(reply("10.0.2.2", "10.0.2.15", 68), Verdict());
  EXPECT_EQ(reply("10.0.2.2", "255.255.255.255", 69), stranger);
  EXPECT_NE(reply("198.18.9.1", "255.255.255.255", 68), Verdict());
  EXPECT_NE(reply("10.0.2.2", "224.0.0.1", 68), Verdict());
  EXPECT_NE(reply("10.0.2.2", "0.0.0.0", 68), Verdict()) << "only a question comes from nobody";
  EXPECT_NE(reply("10.0.2.3", "255.255.255.255", 68), Verdict()) << "not the gateway";
  ip = discover;
  ip.from = "255.255.255.255";
  EXPECT_EQ(out(ip), stranger);
  ip = discover;
  ip.protocol = IPPROTO_TCP;
  EXPECT_EQ(out(ip), stranger) << "DHCP is UDP";
  ip = answer_to({.from = "255.255.255.255", .to = "10.0.2.2", .from_port = 68, .to_port = 67});
  ip.protocol = IPPROTO_TCP;
  EXPECT_EQ(judge(NatWay::in, ip.bytes()), stranger);
  ip = answer_to({.from = "10.0.2.15", .to = "255.255.255.255", .from_port = 68, .to_port = 67});
  EXPECT_NE(judge(NatWay::in, ip.bytes()), Verdict()) << "nobody answers as everybody";
}

TEST_F(NatFilterTest, RemembersOfEachAddressWhetherItLeadsToMany) {
  NatFilter filter(wish_, [](std::uint32_t address) { return address == 0xc6124dff; }, kFew);
  EXPECT_EQ(judge(filter, NatWay::out, Ip{.to = "198.18.77.255"}.bytes()), group);
  for (unsigned i = 0; i < 20'000; ++i) {  // more than there are places
    Bytes bytes = Ip{.to = "198.18.0.0"}.bytes();
    put16(bytes, 32, i % 254U + 1 + (i / 254U << 8U));
    ASSERT_EQ(judge(filter, NatWay::out, bytes), Verdict()) << i;
  }
  EXPECT_EQ(judge(filter, NatWay::out, Ip{.to = "198.18.77.255"}.bytes()), group);
}

TEST_F(NatFilterTest, KeepsWhatTheBusFloodsBetweenOthers) {
  EXPECT_EQ(out({.to_mac = kOtherMac}), others);
  EXPECT_EQ(out({.to = "127.0.0.1", .to_mac = kOtherMac}), others) << "and nobody is answered";
  EXPECT_EQ(out({.to_mac = kNameServerMac}), Verdict());
  wish_.program = NatProgram::passt;
  EXPECT_EQ(out({.to_mac = kNameServerMac}), others);
}

TEST_F(NatFilterTest, LetsArpAskForTheGatewayAndAnnounceHosts) {
  EXPECT_EQ(asks(Arp{}), Verdict());
  EXPECT_EQ(asks({.target = "10.0.2.3"}), Verdict());
  EXPECT_EQ(asks({.sender = "0.0.0.0"}), Verdict()) << "whether the address is in use";
  EXPECT_EQ(asks({.target = "10.0.2.15"}), Verdict()) << "an announcement";
  EXPECT_EQ(asks({.operation = 2, .to_mac = kGatewayMac}), Verdict()) << "an answer";
  for (const char* const target : {"10.0.2.16", "10.0.2.1", "198.18.0.1", "127.0.0.1", "0.0.0.0"})
    EXPECT_EQ(asks({.target = target}), others) << target;
  EXPECT_EQ(asks({.sender = "0.0.0.0", .target = "0.0.0.0"}), others) << "passt would answer";
  for (const char* const sender : {"10.0.2.2", "10.0.2.3", "198.18.0.5", "127.0.0.1", "10.0.2.255"})
    EXPECT_EQ(asks({.sender = sender}), stranger) << sender;
  EXPECT_EQ(asks({.sender = "0.0.0.0", .operation = 2}), stranger);
  EXPECT_EQ(asks({.operation = 3}), unreadable);
  EXPECT_EQ(asks({.hardware = 6}), unreadable);
  EXPECT_EQ(asks({.sizes = 0x0610}), unreadable);
  Bytes of_ipv6 = Arp().bytes();
  put16(of_ipv6, 16, 0x86dd);
  EXPECT_EQ(judge(NatWay::out, of_ipv6), unreadable);
  EXPECT_EQ(judge(NatWay::in, Arp{.sender = "10.0.2.2", .operation = 0}.bytes()), unreadable);
  Bytes cut = Arp().bytes();
  cut.pop_back();
  EXPECT_EQ(judge(NatWay::out, cut), unreadable);
  EXPECT_EQ(asks({.to_mac = kOtherMac}), others);
  const auto in = [&](const char* sender) {
    return judge(NatWay::in, Arp{.sender = sender, .target = "10.0.2.15"}.bytes());
  };
  EXPECT_EQ(in("10.0.2.2"), Verdict());
  EXPECT_EQ(in("10.0.2.3"), Verdict());
  EXPECT_EQ(in("10.0.2.16"), others) << "nobody takes a host's address";
  wish_.program = NatProgram::passt;
  EXPECT_EQ(asks({.target = "10.0.2.3"}), others) << "passt would answer that";
}

TEST_F(NatFilterTest, FollowsTheNetworkThatWasChosen) {
  EXPECT_TRUE(NatNetwork::parse("10.0.0.0/8"));
  EXPECT_TRUE(NatNetwork::parse("10.0.2.128/25"));
  wish_.network = *NatNetwork::parse("198.18.64.0/20");
  const MacAddress mac = *MacAddress::parse("52:55:c6:12:40:02");
  EXPECT_EQ(out({.from = "198.18.79.254", .to = "10.0.2.2", .to_mac = mac}), Verdict());
  EXPECT_EQ(out({.from = "198.18.80.1", .to = "10.0.2.2", .to_mac = mac}), stranger);
  EXPECT_EQ(out({.from = "198.18.64.15", .to = "198.18.64.2", .to_mac = mac}), closed);
  EXPECT_EQ(out({.from = "198.18.64.15", .to = "198.18.79.255", .to_mac = mac}), group);
  EXPECT_EQ(out({.from = "198.18.64.15", .to_mac = kGatewayMac}), others);
}

// NatFilter: how it counts the frames that it keeps, and tells hosts of them.

TEST_F(NatFilterTest, CountsWhatItKeepsAndTellsTheHostThatAddressedIt) {
  NatFilter filter(wish_, to_one, kFew);
  EXPECT_EQ(filter.to_text(), "");
  auto [ours, theirs] = LoopbackLink::pair().value();
  AnyLink back(std::make_unique<LoopbackLink>(std::move(ours)));
  const auto answer = [&](NatWay way, const Bytes& bytes) {
    EXPECT_TRUE(filter.keep(way, FrameView(bytes.data(), bytes.size()), back));
    FrameBatch batch;
    static_cast<void>(theirs.receive(batch));
    return batch.empty() ? Bytes()
                         : Bytes(reinterpret_cast<const std::uint8_t*>(batch[0].bytes.data()),
                                 reinterpret_cast<const std::uint8_t*>(batch[0].bytes.data()) +
                                     batch[0].size());
  };
  const Bytes asked = Ip{.to = "127.0.0.1"}.bytes();
  const Bytes told = answer(NatWay::out, asked);
  ASSERT_EQ(told.size(), 14U + 20 + 8 + 28);
  Ip expected{.from = "10.0.2.2",
              .to = "10.0.2.15",
              .from_mac = kGatewayMac,
              .to_mac = kHostMac,
              .protocol = IPPROTO_ICMP,
              .from_port = 0x030d,
              .payload = 36};
  Bytes wanted = expected.bytes();
  std::memcpy(&wanted[24], &told[24], 2);
  std::memcpy(&wanted[36], &told[36], 2);
  std::copy_n(asked.begin() + 14, 28, wanted.begin() + 42);
  EXPECT_EQ(told, wanted);
  const auto sum = [&](std::size_t from, std::size_t size) {
    return bus::internet_sum(std::as_bytes(std::span(told).subspan(from, size)));
  };
  EXPECT_EQ(sum(14, 20), 0xffff);
  EXPECT_EQ(sum(34, 36), 0xffff);
  EXPECT_FALSE(answer(NatWay::out, Ip{.to = "169.254.1.1"}.bytes()).empty());
  EXPECT_FALSE(answer(NatWay::out, Ip{.to = "10.0.2.2"}.bytes()).empty());
  EXPECT_FALSE(answer(NatWay::out, Ip{.fragment = 0x2000}.bytes()).empty());
  // Nobody is told of what others sent to each other, of groups, or of a later fragment.
  EXPECT_TRUE(answer(NatWay::out, Ip{.to = "127.0.0.1", .to_mac = kOtherMac}.bytes()).empty());
  EXPECT_TRUE(answer(NatWay::out, Ip{.to = "127.0.0.1", .to_mac = kEveryMac}.bytes()).empty());
  EXPECT_TRUE(answer(NatWay::out, Ip{.to = "224.0.0.1"}.bytes()).empty());
  EXPECT_TRUE(answer(NatWay::out, Ip{.to = "127.0.0.1", .fragment = 0x0007}.bytes()).empty());
  EXPECT_TRUE(answer(NatWay::out, Ip{.from = "198.18.0.1"}.bytes()).empty());
  EXPECT_TRUE(answer(NatWay::in, Ip{.from = "127.0.0.1", .to = "10.0.2.15"}.bytes()).empty());
  const Bytes passes = Ip().bytes();
  EXPECT_FALSE(filter.keep(NatWay::out, FrameView(passes.data(), passes.size()), back));
  EXPECT_TRUE(answer(NatWay::in, answer_to({.to = "198.18.9.2"}).bytes()).empty());
  EXPECT_EQ(filter.refused(NatWay::out), 9U);
  EXPECT_EQ(filter.refused(NatWay::in), 2U);
  EXPECT_TRUE(filter.to_text().starts_with(
      "11 frames were refused (2 fragments of packets, 1 from outside the network, 3 for 127."))
      << filter.to_text();
  EXPECT_EQ(filter.to_json(), Json({{"other_protocol", 0},
                                    {"unreadable", 0},
                                    {"fragment", 2},
                                    {"other_icmp", 0},
                                    {"outside_network", 1},
                                    {"loopback", 3},
                                    {"link_local", 1},
                                    {"multicast_or_broadcast", 1},
                                    {"not_served", 1},
                                    {"other_hosts", 1},
                                    {"unsolicited", 1},
                                    {"too_many_hosts", 0}}));
  unsigned answers = 0;
  for (unsigned i = 0; i < 1000; ++i) answers += answer(NatWay::out, asked).empty() ? 0 : 1;
  EXPECT_GE(answers, 1U);
  EXPECT_LT(answers, 1000U) << "a flood is not answered with another";
  EXPECT_TRUE(shmif::test::eventually([&] { return !answer(NatWay::out, asked).empty(); }))
      << "nor does it silence the gateway for ever";
}

TEST_F(NatFilterTest, SaysOfOneFrameThatItWasRefusedAndWhy) {
  auto [ours, theirs] = LoopbackLink::pair().value();
  AnyLink back(std::make_unique<LoopbackLink>(std::move(ours)));
  const auto said_of = [&](NatFilter& filter, const Ip& ip) {
    const Bytes bytes = ip.bytes();
    EXPECT_TRUE(filter.keep(NatWay::out, FrameView(bytes.data(), bytes.size()), back));
    return filter.to_text();
  };
  for (const auto& [ip, why] :
       {std::pair{Ip{.type = 0x86dd}, "IPv6 or other protocols"},
        {Ip{.protocol = IPPROTO_SCTP}, "IPv6 or other protocols"},
        {Ip{.first = 0x46}, "damaged or with IP options"},
        {Ip{.fragment = 0x2000}, "fragments of packets"},
        {Ip{.protocol = IPPROTO_ICMP, .from_port = 0x0d00}, "ICMP other than pings"},
        {Ip{.from = "198.18.0.1"}, "from outside the network"},
        {Ip{.to = "0.0.0.1"}, "for 127.0.0.0/8 or 0.0.0.0/8"},
        {Ip{.to = "169.254.1.1"}, "for 169.254.0.0/16, see --link-local"},
        {Ip{.to = "224.0.0.1"}, "multicast or broadcast"},
        {Ip{.to = "10.0.2.2"}, "for what the gateway does not serve"},
        {Ip{.to = "10.0.2.16"}, "for other hosts of the bus"}}) {
    NatFilter filter(wish_, to_one, kFew);
    EXPECT_EQ(said_of(filter, ip), "1 frame was refused (1 " + std::string(why) + ')');
  }
  NatFilter filter(wish_, to_one, {.hosts = 1, .of_host = 8});
  const Bytes first = Ip().bytes();
  ASSERT_FALSE(filter.keep(NatWay::out, FrameView(first.data(), first.size()), back));
  EXPECT_EQ(said_of(filter, Ip{.from = "10.0.2.16"}),
            "1 frame was refused (1 from too many hosts)");
}

TEST_F(NatFilterTest, AnswersAHundredTimesASecond) {
  auto [ours, theirs] = LoopbackLink::pair().value();
  AnyLink back(std::make_unique<LoopbackLink>(std::move(ours)));
  const Bytes asked = Ip{.to = "127.0.0.1"}.bytes();
  for (;;) {
    NatFilter filter(wish_, to_one, kFew);
    const auto begin = std::chrono::steady_clock::now();
    for (unsigned i = 0; i < 150; ++i)
      EXPECT_TRUE(filter.keep(NatWay::out, FrameView(asked.data(), asked.size()), back));
    const auto took = std::chrono::steady_clock::now() - begin;
    FrameBatch batch(256, 64U << 10U);
    EXPECT_FALSE(theirs.receive(batch).error);
    if (took > std::chrono::milliseconds(900)) continue;  // a second began meanwhile
    EXPECT_EQ(batch.size(), 100U);
    EXPECT_EQ(filter.refused(NatWay::out), 150U);
    break;
  }
}

TEST_F(NatFilterTest, QuotesOnlyWhatThePacketHoldsAndAnswersOnlyOneHost) {
  NatFilter filter(wish_, to_one, kFew);
  auto [ours, theirs] = LoopbackLink::pair().value();
  AnyLink back(std::make_unique<LoopbackLink>(std::move(ours)));
  const auto is_answered = [&](const Ip& ip, std::size_t frame_bytes = 0) {
    const Bytes bytes = ip.bytes();
    EXPECT_TRUE(filter.keep(
        NatWay::out, FrameView(bytes.data(), frame_bytes == 0 ? bytes.size() : frame_bytes), back));
    FrameBatch batch;
    static_cast<void>(theirs.receive(batch));
    return !batch.empty();
  };
  // What follows a short packet, in its frame or behind it, is not its sender's.
  for (int payload = 0; payload < 8; ++payload) {
    const Ip ip{.fragment = 0x2000, .length = 20 + payload};
    EXPECT_FALSE(is_answered(ip)) << payload;
    EXPECT_FALSE(is_answered(ip, static_cast<std::size_t>(34 + payload))) << payload;
  }
  EXPECT_TRUE(is_answered({.fragment = 0x2000, .payload = 8}));
  for (const char* const from : {"198.18.0.1", "127.0.0.1", "10.0.2.2", "10.0.2.255", "10.0.2.0",
                                 "255.255.255.255", "224.0.0.1", "0.0.0.0"})
    EXPECT_FALSE(is_answered({.from = from, .fragment = 0x2000})) << from;
  EXPECT_FALSE(is_answered({.from_mac = kEveryMac, .fragment = 0x2000}));
  EXPECT_FALSE(is_answered({.to = "127.0.0.1", .from_mac = kEveryMac}));
}

}  // namespace
}  // namespace shmif::tools::nat_filtering
