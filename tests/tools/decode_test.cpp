#include "tools/decode.hpp"

#include <gtest/gtest.h>
#include <tins/tins.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include "shmif/ping.hpp"

namespace shmif::tools {
namespace {

using Octets = std::vector<std::uint8_t>;

const Tins::HWAddress<6> kFrom("b2:a0:00:00:00:01");
const Tins::HWAddress<6> kTo("b2:a0:00:00:00:02");

template <class P>
Octets frame_of(P&& payload) {
  Tins::EthernetII frame = Tins::EthernetII(kTo, kFrom) / payload;
  return frame.serialize();
}

FrameView view(const Octets& bytes) {
  return {bytes.data(), bytes.size()};
}

/// The decoded line without its time.
std::string line(const Octets& bytes, const DecodeOptions& options = {}) {
  const std::string out = decode(view(bytes), options);
  EXPECT_EQ(out.find(' '), std::string("00:00:00.000000000").size());
  EXPECT_EQ(out.back(), '\n');
  return out.substr(out.find(' ') + 1, out.size() - out.find(' ') - 2);
}

TEST(Decode, BeginsWithTheLocalTimeToTheNanosecond) {
  setenv("TZ", "UTC", 1);
  tzset();
  const Octets bytes(60);
  FrameView frame = view(bytes);
  frame.time_ns = (3600 + 2 * 60 + 3) * 1'000'000'000ULL + 7;
  EXPECT_EQ(decode(frame).substr(0, 19), "01:02:03.000000007 ");
}

TEST(Decode, Arp) {
  EXPECT_EQ(line(Tins::ARP::make_arp_request("198.18.0.2", "198.18.0.1", kFrom).serialize()),
            "ARP, Request who-has 198.18.0.2 tell 198.18.0.1, length 46");
  EXPECT_EQ(line(Tins::ARP::make_arp_reply("198.18.0.1", "198.18.0.2", kFrom, kTo).serialize()),
            "ARP, Reply 198.18.0.2 is-at b2:a0:00:00:00:02, length 46");
}

TEST(Decode, TcpWithItsOptions) {
  Tins::TCP tcp(80, 40000);
  tcp.flags(Tins::TCP::SYN);
  tcp.seq(1000);
  tcp.window(64240);
  tcp.mss(1460);
  tcp.sack_permitted();
  tcp.winscale(7);
  EXPECT_EQ(line(frame_of(Tins::IP("198.18.0.2", "198.18.0.1") / tcp)),
            "IP 198.18.0.1.40000 > 198.18.0.2.80: Flags [S], seq 1000, win 64240, "
            "options [mss 1460,sackOK,wscale 7,nop,nop,nop], length 0");
}

TEST(Decode, TcpLengthIsThePayloadsWithoutPadding) {
  Tins::TCP tcp(80, 40000);
  tcp.flags(Tins::TCP::PSH | Tins::TCP::ACK);
  tcp.seq(1000);
  tcp.ack_seq(7);
  Octets bytes = frame_of(Tins::IP("198.18.0.2", "198.18.0.1") / tcp / Tins::RawPDU("abc"));
  bytes.resize(60);  // an Ethernet's least
  EXPECT_EQ(line(bytes),
            "IP 198.18.0.1.40000 > 198.18.0.2.80: Flags [P.], seq 1000:1003, ack 7, win 32678, "
            "length 3");
}

TEST(Decode, UdpOverBothVersionsOfIp) {
  EXPECT_EQ(line(frame_of(Tins::IP("198.18.0.2", "198.18.0.1") / Tins::UDP(53, 5353) /
                          Tins::RawPDU(std::string(2000, 'x')))),
            "IP 198.18.0.1.5353 > 198.18.0.2.53: UDP, length 2000");
  EXPECT_EQ(
      line(frame_of(Tins::IPv6("fd00::2", "fd00::1") / Tins::UDP(9, 5000) / Tins::RawPDU("hello"))),
      "IP6 fd00::1.5000 > fd00::2.9: UDP, length 5");
}

TEST(Decode, IcmpEcho) {
  Tins::ICMP icmp;
  icmp.id(5);
  icmp.sequence(6);
  EXPECT_EQ(line(frame_of(Tins::IP("198.18.0.2", "198.18.0.1") / icmp /
                          Tins::RawPDU(std::string(56, 'x')))),
            "IP 198.18.0.1 > 198.18.0.2: ICMP echo request, id 5, seq 6, length 64");
}

TEST(Decode, NeighbourDiscovery) {
  Tins::ICMPv6 solicit(Tins::ICMPv6::NEIGHBOUR_SOLICIT);
  solicit.target_addr("fd00::2");
  EXPECT_EQ(
      line(frame_of(Tins::IPv6("ff02::1:ff00:2", "fd00::1") / solicit)),
      "IP6 fd00::1 > ff02::1:ff00:2: ICMP6, neighbor solicitation, who has fd00::2, length 24");
  Tins::ICMPv6 advert(Tins::ICMPv6::NEIGHBOUR_ADVERT);
  advert.target_addr("fd00::2");
  EXPECT_EQ(line(frame_of(Tins::IPv6("fd00::1", "fd00::2") / advert)),
            "IP6 fd00::2 > fd00::1: ICMP6, neighbor advertisement, tgt is fd00::2, length 24");
}

TEST(Decode, FindsIcmp6BehindAHopByHopHeader) {
  // A multicast listener report as Linux sends it: IPv6, hop-by-hop with a router alert, ICMPv6.
  Octets bytes{0x33, 0x33, 0, 0, 0, 0x16, 0xb2, 0xa0, 0, 0, 0, 1, 0x86, 0xdd};
  const Octets ip{0x60, 0, 0, 0, 0,    36, 0, 1, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                  0,    0, 0, 1, 0xff, 2,  0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16};
  const Octets hop{58, 0, 5, 2, 0, 0, 1, 0};
  Octets report(28);
  report[0] = 143;
  report[7] = 1;
  for (const Octets& part : {ip, hop, report}) bytes.insert(bytes.end(), part.begin(), part.end());
  EXPECT_EQ(line(bytes), "IP6 fe80::1 > ff02::16: ICMP6, multicast listener report v2, length 28");
}

TEST(Decode, VlanTags) {
  Tins::EthernetII frame = Tins::EthernetII(kTo, kFrom) / Tins::Dot1Q(101) /
                           Tins::IP("198.18.0.2", "198.18.0.1") / Tins::UDP(9, 5000);
  Octets bytes = frame.serialize();
  bytes[14] |= 0x60;
  EXPECT_EQ(line(bytes).substr(0, 69),
            "vlan 101, p 3, IP 198.18.0.1.5000 > 198.18.0.2.9: UDP, length 0");
}

TEST(Decode, SpanningTree) {
  Octets bytes{0x01, 0x80, 0xc2, 0, 0, 0, 0xb2, 0xa0, 0, 0, 0, 1, 0, 38, 0x42, 0x42, 3};
  bytes.resize(60);
  bytes[17 + 5] = 0x80;   // the root's priority
  bytes[17 + 12] = 9;     // and the end of its address
  bytes[17 + 17] = 0x80;  // the bridge's
  EXPECT_EQ(line(bytes),
            "STP version 0, type 0x00, root 8000.00:00:00:00:00:09, bridge "
            "8000.00:00:00:00:00:00, cost 0, port 0000, length 38");
}

TEST(Decode, LlcAndUnknownEtherTypesInHexadecimal) {
  Octets bytes(60);
  bytes[13] = 10;
  bytes[14] = 0xaa;
  EXPECT_EQ(line(bytes), "LLC, dsap 0xaa, ssap 0x00, control 0x00, length 10: 00000000000000");
  bytes[12] = 0x88;
  bytes[13] = 0xb6;
  EXPECT_EQ(line(bytes),
            "ethertype Local Experimental 2 (0x88b6), length 46: "
            "aa000000000000000000000000000000...");
}

TEST(Decode, PingFrames) {
  std::array<std::byte, kPingFrameBytes> bytes;
  write_ping({.destination = *MacAddress::parse("ff:ff:ff:ff:ff:ff"),
              .source = *MacAddress::parse("b2:a0:00:00:00:01"),
              .id = 0xabc,
              .sequence = 4},
             bytes);
  EXPECT_NE(decode({bytes.data(), bytes.size()})
                .find(" shmif ping request, id 0x00000abc, seq 4, length 60\n"),
            std::string::npos);
}

TEST(Decode, FragmentsAreNotTakenForTheirProtocol) {
  Tins::IP ip("198.18.0.2", "198.18.0.1");
  ip.flags(Tins::IP::MORE_FRAGMENTS);
  ip.fragment_offset(185);
  ip.protocol(17);
  ip.id(9);
  EXPECT_EQ(line(frame_of(ip / Tins::RawPDU(std::string(8, 'x')))),
            "IP 198.18.0.1 > 198.18.0.2: UDP fragment, id 9, offset 1480, more follow, length 8");
}

TEST(Decode, TheLinkHeaderStandsFirstWhenAskedFor) {
  const Octets bytes = Tins::ARP::make_arp_request("198.18.0.2", "198.18.0.1", kFrom).serialize();
  EXPECT_EQ(line(bytes, {.link_header = true}),
            "b2:a0:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 60: "
            "ARP, Request who-has 198.18.0.2 tell 198.18.0.1, length 46");
}

TEST(Decode, TheHexDumpShowsEveryByte) {
  Octets bytes(18);
  bytes[17] = 'A';
  const std::string out = decode(view(bytes), {.hex_dump = true});
  EXPECT_NE(out.find("\n\t0x0000:  0000 0000 0000 0000 0000 0000 0000 0000  ................\n"
                     "\t0x0010:  0041                                     .A\n"),
            std::string::npos)
      << out;
}

TEST(Decode, ATruncatedFrameSaysSo) {
  const Octets bytes(60);
  FrameView frame = view(bytes);
  frame.true_bytes = 1514;
  EXPECT_NE(decode(frame).find(" [cut short: 60 of 1514 bytes]\n"), std::string::npos);
}

TEST(Decode, AMalformedPacketIsCalledSo) {
  Octets bytes = frame_of(Tins::IP("198.18.0.2", "198.18.0.1") / Tins::UDP(9, 5000));
  bytes[14] = 0x42;  // a header of 8 bytes
  EXPECT_NE(line(bytes).find("malformed"), std::string::npos);
}

/// Whatever the bytes, the answer is one line of printable text.
void expect_one_line(const Octets& bytes) {
  const std::string out = decode(view(bytes), {.link_header = true});
  ASSERT_EQ(std::ranges::count(out, '\n'), 1);
  ASSERT_EQ(out.back(), '\n');
  ASSERT_TRUE(std::all_of(out.begin(), out.end() - 1, [](char c) { return c >= ' ' && c < 0x7f; }))
      << out;
}

TEST(Decode, RandomBytesGiveALine) {
  std::mt19937 random(1);
  constexpr std::array<unsigned, 12> kTypes{0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x88b5,
                                            38,     0x8847, 0x8864, 0x888e, 0x0000, 0xffff};
  for (int i = 0; i < 60'000; ++i) {
    Octets bytes(14 + random() % 200);
    for (std::uint8_t& b : bytes) b = static_cast<std::uint8_t>(random());
    const unsigned type = kTypes[random() % kTypes.size()];
    bytes[12] = static_cast<std::uint8_t>(type >> 8U);
    bytes[13] = static_cast<std::uint8_t>(type);
    if (bytes.size() > 14 && type == 0x0800) bytes[14] = 0x45;
    if (bytes.size() > 14 && type == 0x86dd) bytes[14] = 0x60;
    expect_one_line(bytes);
  }
}

TEST(Decode, EveryDamagedOrCutShortPacketGivesALine) {
  Tins::TCP tcp(80, 40000);
  tcp.mss(1460);
  tcp.timestamp(1, 2);
  Tins::ICMPv6 solicit(Tins::ICMPv6::NEIGHBOUR_SOLICIT);
  const std::vector<Octets> whole{
      frame_of(Tins::IP("198.18.0.2", "198.18.0.1") / tcp / Tins::RawPDU("abc")),
      frame_of(Tins::IP("198.18.0.2", "198.18.0.1") / Tins::ICMP() / Tins::RawPDU("abc")),
      frame_of(Tins::IPv6("fd00::2", "fd00::1") / solicit),
      frame_of(Tins::IPv6("fd00::2", "fd00::1") / Tins::UDP(53, 53) / Tins::RawPDU("abc")),
      Tins::ARP::make_arp_request("198.18.0.2", "198.18.0.1", kFrom).serialize()};
  std::mt19937 random(2);
  for (const Octets& frame : whole) {
    for (std::size_t size = 14; size <= frame.size(); ++size) {
      expect_one_line({frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size)});
    }
    for (int i = 0; i < 10'000; ++i) {
      Octets damaged = frame;
      for (int n = 0; n < 3; ++n) {
        damaged[12 + random() % (damaged.size() - 12)] = static_cast<std::uint8_t>(random());
      }
      expect_one_line(damaged);
    }
  }
}

TEST(Decode, PacketsWithinPacketsDoNotExhaustTheStack) {
  Octets tags(65'000);
  for (std::size_t i = 12; i + 4 <= tags.size(); i += 4) tags[i] = 0x81;
  expect_one_line(tags);
  Octets tunnels(65'000);
  tunnels[12] = 0x08;
  for (std::size_t i = 14; i + 20 <= tunnels.size(); i += 20) {
    tunnels[i] = 0x45;
    tunnels[i + 9] = 4;  // IP in IP
  }
  expect_one_line(tunnels);
}

}  // namespace
}  // namespace shmif::tools
