#include "tools/packets/decode.hpp"

#include <gtest/gtest.h>
#include <tins/tins.h>

#include <algorithm>
#include <cstdint>
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

TEST(Decode, TheNumberBehindATcpSegmentBeginsAgainAtZero) {
  struct Case {
    std::uint32_t first;
    const char* numbers;
  };
  for (const Case& c : {Case{4'294'967'290, "4294967290:4294967293"},
                        {4'294'967'293, "4294967293:0"},
                        {4'294'967'295, "4294967295:2"}}) {
    Tins::TCP tcp(80, 40000);
    tcp.flags(Tins::TCP::ACK);
    tcp.seq(c.first);
    tcp.ack_seq(4'294'967'295);
    EXPECT_EQ(line(frame_of(Tins::IP("198.18.0.2", "198.18.0.1") / tcp / Tins::RawPDU("abc"))),
              std::string("IP 198.18.0.1.40000 > 198.18.0.2.80: Flags [.], seq ") + c.numbers +
                  ", ack 4294967295, win 32678, length 3");
  }
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

const std::string kIp = "IP 198.18.0.1 > 198.18.0.2: ";

std::string tcp_line(Tins::TCP tcp) {
  const std::string begin = "IP 198.18.0.1.40000 > 198.18.0.2.80: Flags ";
  const std::string all = line(frame_of(Tins::IP("198.18.0.2", "198.18.0.1") / tcp));
  EXPECT_TRUE(all.starts_with(begin)) << all;
  return all.substr(std::min(begin.size(), all.size()));
}

TEST(Decode, EachFlagOfTcpHasItsLetter) {
  Tins::TCP tcp(80, 40000);
  tcp.urg_ptr(5);
  for (const auto& [flags, shown] : {std::pair{Tins::TCP::FIN, "[F], seq 0, win 32678, length 0"},
                                     {Tins::TCP::SYN, "[S], seq 0, win 32678, length 0"},
                                     {Tins::TCP::RST, "[R], seq 0, win 32678, length 0"},
                                     {Tins::TCP::PSH, "[P], seq 0, win 32678, length 0"},
                                     {Tins::TCP::ACK, "[.], seq 0, ack 0, win 32678, length 0"},
                                     {Tins::TCP::URG, "[U], seq 0, win 32678, urg 5, length 0"},
                                     {Tins::TCP::ECE, "[E], seq 0, win 32678, length 0"},
                                     {Tins::TCP::CWR, "[W], seq 0, win 32678, length 0"}}) {
    tcp.flags(static_cast<std::uint16_t>(flags));
    EXPECT_EQ(tcp_line(tcp), shown);
  }
  tcp.flags(0);
  EXPECT_EQ(tcp_line(tcp), "[none], seq 0, win 32678, length 0");
  tcp.flags(0xff);
  EXPECT_EQ(tcp_line(tcp), "[FSRPUEW.], seq 0, ack 0, win 32678, urg 5, length 0");
}

TEST(Decode, EachOptionOfTcpSaysWhatItHolds) {
  Tins::TCP tcp(80, 40000);
  tcp.mss(1460);
  tcp.timestamp(100, 200);
  tcp.sack({1, 2, 3, 4});
  EXPECT_EQ(tcp_line(tcp),
            "[none], seq 0, win 32678, options [mss 1460,TS val 100 ecr 200,sack 2], length 0");
  Tins::TCP odd(80, 40000);
  const std::uint8_t bytes[3] = {};
  odd.add_option({Tins::TCP::MSS, bytes, bytes + 3});
  odd.add_option({Tins::TCP::WSCALE, bytes, bytes + 2});
  odd.add_option({Tins::TCP::TSOPT, bytes, bytes + 3});
  odd.add_option({static_cast<Tins::TCP::OptionTypes>(30), bytes, bytes + 2});
  EXPECT_EQ(tcp_line(odd).substr(0, 63),
            "[none], seq 0, win 32678, options [mss ?,wscale ?,TS ?,opt-30,n");
}

TEST(Decode, EachMessageOfIcmpSaysWhatItIs) {
  using T = Tins::ICMP;
  const auto shown = [](T::Flags type, unsigned code) {
    T icmp(type);
    icmp.code(static_cast<std::uint8_t>(code));
    if (type == T::DEST_UNREACHABLE) icmp.mtu(1400);
    if (type == T::REDIRECT) icmp.gateway("198.18.0.9");
    if (type == T::ECHO_REPLY) {
      icmp.id(5);
      icmp.sequence(6);
    }
    return line(frame_of(Tins::IP("198.18.0.2", "198.18.0.1") / icmp));
  };
  EXPECT_EQ(shown(T::ECHO_REPLY, 0), kIp + "ICMP echo reply, id 5, seq 6, length 8");
  EXPECT_EQ(shown(T::DEST_UNREACHABLE, 0), kIp + "ICMP network unreachable, length 8");
  EXPECT_EQ(shown(T::DEST_UNREACHABLE, 1), kIp + "ICMP host unreachable, length 8");
  EXPECT_EQ(shown(T::DEST_UNREACHABLE, 2), kIp + "ICMP protocol unreachable, length 8");
  EXPECT_EQ(shown(T::DEST_UNREACHABLE, 3), kIp + "ICMP port unreachable, length 8");
  EXPECT_EQ(shown(T::DEST_UNREACHABLE, 4),
            kIp + "ICMP unreachable, need to fragment (mtu 1400), length 8");
  EXPECT_EQ(shown(T::DEST_UNREACHABLE, 13), kIp + "ICMP unreachable, code 13, length 8");
  EXPECT_EQ(shown(T::TIME_EXCEEDED, 0), kIp + "ICMP time exceeded in-transit, length 8");
  EXPECT_EQ(shown(T::TIME_EXCEEDED, 1), kIp + "ICMP time exceeded in reassembly, length 8");
  EXPECT_EQ(shown(T::REDIRECT, 1), kIp + "ICMP redirect to 198.18.0.9, length 8");
  EXPECT_EQ(shown(static_cast<T::Flags>(15), 2), kIp + "ICMP type 15 code 2, length 8");
}

/// An IPv6 packet from fd00::1 to fd00::2.
Octets ipv6_frame(std::uint8_t next_header, const Octets& payload) {
  Octets bytes{0x33, 0x33, 0, 0, 0, 1, 0xb2, 0xa0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0};
  bytes.push_back(static_cast<std::uint8_t>(payload.size()));
  bytes.push_back(next_header);
  bytes.push_back(255);
  for (const std::uint8_t last : Octets{1, 2}) {
    Octets address(16);
    address[0] = 0xfd;
    address[15] = last;
    bytes.insert(bytes.end(), address.begin(), address.end());
  }
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

TEST(Decode, EachMessageOfIcmp6SaysWhatItIs) {
  const auto shown = [](std::uint8_t type, std::uint8_t code, std::size_t size) {
    Octets message(size);
    message[0] = type;
    message[1] = code;
    message[5] = 5;
    message[7] = 6;
    if (size > 24) message[39] = 9;  // the address that a redirect is about
    const std::string all = line(ipv6_frame(58, message));
    const std::string begin = "IP6 fd00::1 > fd00::2: ICMP6, ";
    EXPECT_TRUE(all.starts_with(begin)) << all;
    return all.substr(std::min(begin.size(), all.size()));
  };
  EXPECT_EQ(shown(128, 0, 8), "echo request, id 5, seq 6, length 8");
  EXPECT_EQ(shown(129, 0, 8), "echo reply, id 5, seq 6, length 8");
  EXPECT_EQ(shown(133, 0, 8), "router solicitation, length 8");
  EXPECT_EQ(shown(134, 0, 16), "router advertisement, lifetime 6s, length 16");
  EXPECT_EQ(shown(137, 0, 40), "redirect, ::9, length 40");
  EXPECT_EQ(shown(1, 4, 8), "destination unreachable, code 4, length 8");
  EXPECT_EQ(shown(2, 0, 8), "packet too big, length 8");
  EXPECT_EQ(shown(3, 0, 8), "time exceeded, length 8");
  EXPECT_EQ(shown(130, 0, 24), "multicast listener query, length 24");
  EXPECT_EQ(shown(131, 0, 24), "multicast listener report, length 24");
  EXPECT_EQ(shown(200, 3, 8), "type 200 code 3, length 8");
}

TEST(Decode, UdpSaysWhereItsLengthIsWrongAndWhatIsDhcp) {
  const auto udp = [](std::uint16_t from, std::uint16_t to) {
    return frame_of(Tins::IP("198.18.0.2", "198.18.0.1") / Tins::UDP(to, from) /
                    Tins::RawPDU("hello"));
  };
  const std::string between = "IP 198.18.0.1.";
  EXPECT_EQ(line(udp(68, 67)), between + "68 > 198.18.0.2.67: UDP, DHCP, length 5");
  EXPECT_EQ(line(udp(67, 68)), between + "67 > 198.18.0.2.68: UDP, DHCP, length 5");
  EXPECT_EQ(line(udp(67, 66)), between + "67 > 198.18.0.2.66: UDP, length 5");
  Octets bytes = udp(5000, 9);
  bytes[39] = 100;
  EXPECT_EQ(line(bytes), between + "5000 > 198.18.0.2.9: UDP, bad length 100 > 13, length 92");
  bytes[39] = 14;
  EXPECT_EQ(line(bytes), between + "5000 > 198.18.0.2.9: UDP, bad length 14 > 13, length 6");
  bytes[39] = 0;  // more than 16 bits can say
  EXPECT_EQ(line(bytes), between + "5000 > 198.18.0.2.9: UDP, length 5");
}

TEST(Decode, ALengthOfZeroIsThatOfThePacketThatAHostLeavesToOthersToCutUp) {
  Octets bytes = frame_of(Tins::IP("198.18.0.2", "198.18.0.1") / Tins::UDP(9, 5000) /
                          Tins::RawPDU(std::string(100, 'x')));
  bytes[16] = bytes[17] = 0;
  EXPECT_EQ(line(bytes), "IP 198.18.0.1.5000 > 198.18.0.2.9: UDP, length 100");
}

TEST(Decode, WhatItDoesNotReadItNames) {
  const auto ip = [](unsigned protocol, std::size_t size) {
    Tins::IP packet("198.18.0.2", "198.18.0.1");
    packet.protocol(static_cast<std::uint8_t>(protocol));
    return line(frame_of(packet / Tins::RawPDU(std::string(size, '\0'))));
  };
  for (const auto& [protocol, name] : {std::pair{2U, "IGMP"},
                                       {47U, "GRE"},
                                       {50U, "ESP"},
                                       {59U, "no next header"},
                                       {89U, "OSPF"},
                                       {103U, "PIM"},
                                       {112U, "VRRP"},
                                       {132U, "SCTP"},
                                       {200U, "protocol 200"}}) {
    EXPECT_EQ(ip(protocol, 40), kIp + name + ", length 40");
  }
  for (const auto& [type, name] : {std::pair{0x8809U, "Slow Protocols"},
                                   {0x8847U, "MPLS"},
                                   {0x8863U, "PPPoE discovery"},
                                   {0x8864U, "PPPoE session"},
                                   {0x888eU, "EAPOL"},
                                   {0x88b5U, "Local Experimental 1"},
                                   {0x88b6U, "Local Experimental 2"},
                                   {0x88ccU, "LLDP"},
                                   {0x88e5U, "MACsec"},
                                   {0x88f7U, "PTP"},
                                   {0x05ddU, "Unknown"},
                                   {0xffffU, "Unknown"}}) {
    Octets bytes(20);
    bytes[12] = static_cast<std::uint8_t>(type >> 8U);
    bytes[13] = static_cast<std::uint8_t>(type);
    char shown[100];
    std::snprintf(shown, sizeof shown, "ethertype %s (0x%04x), length 6: 000000000000", name, type);
    EXPECT_EQ(line(bytes), shown);
  }
  Octets arp = frame_of(Tins::ARP());
  arp[21] = 9;
  EXPECT_EQ(line(arp), "ARP, operation 9, length 46");
}

TEST(Decode, FragmentsSayWhereTheyBelong) {
  Tins::IP last("198.18.0.2", "198.18.0.1");
  last.fragment_offset(185);
  last.protocol(17);
  last.id(9);
  EXPECT_EQ(line(frame_of(last / Tins::RawPDU(std::string(8, 'x')))),
            kIp + "UDP fragment, id 9, offset 1480, length 8");
  Octets fragment{17, 0, 0x05, 0xc9, 0, 0, 0, 7, 0, 9, 0, 9, 0, 8, 0, 0};
  EXPECT_EQ(line(ipv6_frame(44, fragment)),
            "IP6 fd00::1 > fd00::2: UDP fragment, offset 1480, more follow, length 8");
  fragment[3] = 0xc8;
  EXPECT_EQ(line(ipv6_frame(44, fragment)),
            "IP6 fd00::1 > fd00::2: UDP fragment, offset 1480, length 8");
}

TEST(Decode, TagsStandOneBehindTheOtherUpToFour) {
  Octets bytes(60);
  const auto tag = [&](std::size_t at, unsigned type, unsigned bits) {
    bytes[at] = static_cast<std::uint8_t>(type >> 8U);
    bytes[at + 1] = static_cast<std::uint8_t>(type);
    bytes[at + 2] = static_cast<std::uint8_t>(bits >> 8U);
    bytes[at + 3] = static_cast<std::uint8_t>(bits);
  };
  tag(12, 0x88a8, 0x0fff);
  tag(16, 0x8100, 0xf001);
  EXPECT_TRUE(line(bytes).starts_with("vlan 4095, p 0, vlan 1, p 7, DEI, LLC, length 0"))
      << line(bytes);
  for (std::size_t at = 12; at < 32; at += 4) tag(at, 0x8100, 2);
  EXPECT_TRUE(
      line(bytes).starts_with("vlan 2, p 0, vlan 2, p 0, vlan 2, p 0, vlan 2, p 0, "
                              "ethertype 802.1Q (0x8100), length 30: "))
      << line(bytes);
}

TEST(Decode, ATypeUpTo1500IsALengthAndWhatFollowsItPadding) {
  Octets bytes(60);
  const auto with_type = [&](unsigned type, const Octets& payload) {
    bytes.assign(60, 0);
    bytes[12] = static_cast<std::uint8_t>(type >> 8U);
    bytes[13] = static_cast<std::uint8_t>(type);
    std::ranges::copy(payload, bytes.begin() + 14);
    return line(bytes);
  };
  EXPECT_TRUE(with_type(1500, {0xaa})
                  .starts_with("LLC, dsap 0xaa, ssap 0x00, control 0x00, "
                               "length 1500: "));
  EXPECT_TRUE(with_type(1501, {0xaa}).starts_with("ethertype Unknown (0x05dd), length 46: "));
  EXPECT_EQ(with_type(2, {0xaa}), "LLC, length 2, malformed");
  EXPECT_EQ(with_type(3, {0xaa, 0xbb, 0xcc}),
            "LLC, dsap 0xaa, ssap 0xbb, control 0xcc, length 3: ");
  EXPECT_EQ(with_type(7, {0x42, 0x42, 3, 1, 2, 3, 4, 5}),
            "STP, dsap 0x42, ssap 0x42, control 0x03, length 7: 01020304");
  EXPECT_TRUE(with_type(37, {0x42, 0x42, 3}).starts_with("STP, dsap"));
  EXPECT_TRUE(with_type(38, {0x42, 0x42, 3}).starts_with("STP version 0"));
  EXPECT_EQ(line(Octets(13)), "frame of 13 bytes, malformed");
}

TEST(Decode, TheLinkHeaderSaysHowLongTheFrameWas) {
  Octets bytes(60);
  bytes[13] = 10;
  FrameView frame = view(bytes);
  const std::string to = "00:00:00:00:00:00 > 00:00:00:00:00:00, ";
  EXPECT_NE(decode(frame, {.link_header = true}).find(to + "802.3, length 60: LLC"),
            std::string::npos);
  frame.true_bytes = 1514;
  EXPECT_NE(decode(frame, {.link_header = true}).find(to + "802.3, length 1514: LLC"),
            std::string::npos);
  EXPECT_EQ(decode(frame, {.sender = "web"}).substr(18, 10), " web: LLC,");
}

}  // namespace
}  // namespace shmif::tools
