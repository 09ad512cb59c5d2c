// The lines of `shmifctl dump`: a table of frames and what is said of them, and frames at which
// nothing may go wrong.

#include "tools/packets/packets.hpp"

#include <gtest/gtest.h>
#include <tins/tins.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "shmif/ping.hpp"
#include "tests/support/run_tool.hpp"

namespace shmif::tools {
namespace {

using test::contains;

using Octets = std::vector<std::uint8_t>;

const Tins::HWAddress<6> kFrom("b2:a0:00:00:00:01");
const Tins::HWAddress<6> kTo("b2:a0:00:00:00:02");

FrameView view(const Octets& bytes) {
  return {bytes.data(), bytes.size()};
}

/// The decoded line without its time.
std::string line(const FrameView& frame, const DecodeOptions& options = {}) {
  const std::string out = decode(frame, options);
  EXPECT_EQ(out.find(' '), std::string("00:00:00.000000000").size());
  EXPECT_EQ(out.back(), '\n');
  return out.substr(out.find(' ') + 1, out.size() - out.find(' ') - 2);
}

template <class P>
Octets frame_of(P&& payload) {
  Tins::EthernetII frame = Tins::EthernetII(kTo, kFrom) / payload;
  return frame.serialize();
}

Tins::IP ip(unsigned protocol = 0) {
  Tins::IP packet("198.18.0.2", "198.18.0.1");
  if (protocol != 0) packet.protocol(static_cast<std::uint8_t>(protocol));
  return packet;
}

template <class P>
Octets over_ip(P&& payload, const std::string& data = {}) {
  return data.empty() ? frame_of(ip() / payload) : frame_of(ip() / payload / Tins::RawPDU(data));
}

/// An IP packet of that protocol, which is not ours to look into.
Octets of_protocol(unsigned protocol) {
  return frame_of(ip(protocol) / Tins::RawPDU(std::string(40, '\0')));
}

Octets fragment(unsigned flags) {
  Tins::IP packet = ip(17);
  packet.flags(static_cast<Tins::IP::Flags>(flags));
  packet.fragment_offset(185);
  packet.id(9);
  return frame_of(packet / Tins::RawPDU(std::string(8, 'x')));
}

Octets udp(std::uint16_t from, std::uint16_t to, const std::string& data = "hello") {
  return over_ip(Tins::UDP(to, from), data);
}

/// TCP from port 40000 to port 80, with what `with` sets.
Octets tcp(const std::function<void(Tins::TCP&)>& with, const std::string& data = {}) {
  Tins::TCP segment(80, 40000);
  with(segment);
  return over_ip(segment, data);
}
Octets tcp_flags(unsigned flags) {
  return tcp([&](Tins::TCP& t) {
    t.flags(static_cast<std::uint16_t>(flags));
    t.urg_ptr(5);
  });
}
/// Three bytes from that number on.
Octets tcp_from(std::uint32_t number) {
  return tcp(
      [&](Tins::TCP& t) {
        t.flags(Tins::TCP::ACK);
        t.seq(number);
        t.ack_seq(4'294'967'295);
      },
      "abc");
}

Octets icmp(unsigned type, unsigned code, const std::function<void(Tins::ICMP&)>& with = {},
            const std::string& data = {}) {
  Tins::ICMP message(static_cast<Tins::ICMP::Flags>(type));
  message.code(static_cast<std::uint8_t>(code));
  if (with) with(message);
  return over_ip(message, data);
}
void with_number(Tins::ICMP& message) {
  message.id(5);
  message.sequence(6);
}

/// A frame of the EtherType `type` with this behind it, and zeros up to `size`.
Octets raw(unsigned type, const Octets& behind, std::size_t size = 0) {
  Octets bytes{0xb2, 0xa0, 0, 0, 0, 2, 0xb2, 0xa0, 0, 0, 0, 1};
  bytes.push_back(static_cast<std::uint8_t>(type >> 8U));
  bytes.push_back(static_cast<std::uint8_t>(type));
  bytes.insert(bytes.end(), behind.begin(), behind.end());
  bytes.resize(std::max(bytes.size(), size));
  return bytes;
}

/// An IPv6 packet from fd00::1 to fd00::2.
Octets ipv6(std::uint8_t next, const Octets& payload, bool with_length = true) {
  Octets packet(40);
  packet[0] = 0x60;
  packet[5] = static_cast<std::uint8_t>(with_length ? payload.size() : 0);
  packet[6] = next;
  packet[7] = 255;
  packet[8] = packet[24] = 0xfd;
  packet[23] = 1;
  packet[39] = 2;
  packet.insert(packet.end(), payload.begin(), payload.end());
  return raw(0x86dd, packet);
}

/// A message of ICMPv6 of that size, with a few numbers in it.
Octets icmp6(std::uint8_t type, std::uint8_t code, std::size_t size) {
  Octets message(size);
  message[0] = type;
  message[1] = code;
  message[5] = 5;
  message[7] = 6;
  if (size > 24) message[39] = 9;  // the address that a redirect is about
  return ipv6(58, message);
}

Octets neighbour(Tins::ICMPv6::Types type, const char* from, const char* to) {
  Tins::ICMPv6 message(type);
  message.target_addr("fd00::2");
  return frame_of(Tins::IPv6(to, from) / message);
}

/// OSPF behind an extension header of so many bytes, whose length is counted in words.
Octets behind_header(std::uint8_t kind, std::size_t bytes, std::uint8_t words) {
  constexpr std::uint8_t kOspf = 89;
  Octets header(bytes + 30);
  header[0] = kOspf;
  header[1] = words;
  header[2] = 1;
  header[3] = 12;
  return ipv6(kind, header);
}

Octets changed(Octets bytes, std::size_t at, unsigned value) {
  bytes.at(at) = static_cast<std::uint8_t>(value);
  return bytes;
}

Octets sized(Octets bytes, std::size_t size) {
  bytes.resize(size);
  return bytes;
}

Octets ping_frame(PingType type = PingType::request) {
  Octets bytes(kPingFrameBytes);
  write_ping({.destination = *MacAddress::parse("ff:ff:ff:ff:ff:ff"),
              .source = *MacAddress::parse("b2:a0:00:00:00:01"),
              .type = type,
              .id = 0xabc,
              .sequence = 4},
             std::span<std::byte, kPingFrameBytes>(reinterpret_cast<std::byte*>(bytes.data()),
                                                   kPingFrameBytes));
  return bytes;
}

struct Case {
  Octets bytes;
  std::string said;
};

/// Each frame is said to be `begin` and what is beside it; "..." at the end stands for more.
void expect_lines(const std::string& begin, const std::vector<Case>& cases,
                  const DecodeOptions& options = {}) {
  for (const Case& c : cases) {
    const std::string shown = line(view(c.bytes), options);
    if (c.said.ends_with(": ...")) {
      EXPECT_TRUE(shown.starts_with(begin + c.said.substr(0, c.said.size() - 3))) << shown;
    } else {
      EXPECT_EQ(shown, begin + c.said);
    }
  }
}

TEST(Decode, Arp) {
  const Octets request = Tins::ARP::make_arp_request("198.18.0.2", "198.18.0.1", kFrom).serialize();
  const std::string said = "Request who-has 198.18.0.2 tell 198.18.0.1, length 46";
  expect_lines("ARP, ",
               {{request, said},
                {Tins::ARP::make_arp_reply("198.18.0.1", "198.18.0.2", kFrom, kTo).serialize(),
                 "Reply 198.18.0.2 is-at b2:a0:00:00:00:02, length 46"},
                {changed(frame_of(Tins::ARP()), 21, 9), "operation 9, length 46"}});
  expect_lines("b2:a0:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 60: ARP, ",
               {{request, said}}, {.link_header = true});
}

TEST(Decode, Tcp) {
  using T = Tins::TCP;
  const std::uint8_t bytes[3] = {};
  const auto odd_options = [&](T& t) {
    t.add_option({T::MSS, bytes, bytes + 3});
    t.add_option({T::WSCALE, bytes, bytes + 2});
    t.add_option({T::TSOPT, bytes, bytes + 3});
    t.add_option({static_cast<T::OptionTypes>(30), bytes, bytes + 2});
  };
  expect_lines(
      "IP 198.18.0.1.40000 > 198.18.0.2.80: Flags ",
      {{tcp([](T& t) {
          t.flags(T::SYN);
          t.seq(1000);
          t.window(64240);
          t.mss(1460);
          t.sack_permitted();
          t.winscale(7);
        }),
        "[S], seq 1000, win 64240, options [mss 1460,sackOK,wscale 7,nop,nop,nop], length 0"},
       // The length is that of the data, without the padding to an Ethernet's least frame.
       {sized(tcp(
                  [](T& t) {
                    t.flags(T::PSH | T::ACK);
                    t.seq(1000);
                    t.ack_seq(7);
                  },
                  "abc"),
              60),
        "[P.], seq 1000:1003, ack 7, win 32678, length 3"},
       // The number behind a segment begins again at zero.
       {tcp_from(4'294'967'290),
        "[.], seq 4294967290:4294967293, ack 4294967295, win 32678, length 3"},
       {tcp_from(4'294'967'293), "[.], seq 4294967293:0, ack 4294967295, win 32678, length 3"},
       {tcp_from(4'294'967'295), "[.], seq 4294967295:2, ack 4294967295, win 32678, length 3"},
       {tcp_flags(0), "[none], seq 0, win 32678, length 0"},
       {tcp_flags(T::FIN), "[F], seq 0, win 32678, length 0"},
       {tcp_flags(T::SYN), "[S], seq 0, win 32678, length 0"},
       {tcp_flags(T::RST), "[R], seq 0, win 32678, length 0"},
       {tcp_flags(T::PSH), "[P], seq 0, win 32678, length 0"},
       {tcp_flags(T::ACK), "[.], seq 0, ack 0, win 32678, length 0"},
       {tcp_flags(T::URG), "[U], seq 0, win 32678, urg 5, length 0"},
       {tcp_flags(T::ECE), "[E], seq 0, win 32678, length 0"},
       {tcp_flags(T::CWR), "[W], seq 0, win 32678, length 0"},
       {tcp_flags(0xff), "[FSRPUEW.], seq 0, ack 0, win 32678, urg 5, length 0"},
       {tcp([](T& t) {
          t.mss(1460);
          t.timestamp(100, 200);
          t.sack({1, 2, 3, 4});
        }),
        "[none], seq 0, win 32678, options [mss 1460,TS val 100 ecr 200,sack 2], length 0"}});
  EXPECT_TRUE(line(view(tcp(odd_options))).find("options [mss ?,wscale ?,TS ?,opt-30,n") !=
              std::string::npos);
}

TEST(Decode, Udp) {
  expect_lines(
      "IP 198.18.0.1.",
      {{udp(5353, 53, std::string(2000, 'x')), "5353 > 198.18.0.2.53: UDP, length 2000"},
       {udp(68, 67), "68 > 198.18.0.2.67: UDP, DHCP, length 5"},
       {udp(67, 68), "67 > 198.18.0.2.68: UDP, DHCP, length 5"},
       {udp(67, 66), "67 > 198.18.0.2.66: UDP, length 5"},
       {changed(udp(5000, 9), 39, 100), "5000 > 198.18.0.2.9: UDP, bad length 100 > 13, length 92"},
       {changed(udp(5000, 9), 39, 14), "5000 > 198.18.0.2.9: UDP, bad length 14 > 13, length 6"},
       // More than 16 bits can say, in UDP's header and in that of IP: a host leaves it to others
       // to cut it up.
       {changed(udp(5000, 9), 39, 0), "5000 > 198.18.0.2.9: UDP, length 5"},
       {changed(changed(udp(5000, 9, std::string(100, 'x')), 16, 0), 17, 0),
        "5000 > 198.18.0.2.9: UDP, length 100"}});
  expect_lines(
      "", {{frame_of(Tins::IPv6("fd00::2", "fd00::1") / Tins::UDP(9, 5000) / Tins::RawPDU("hello")),
            "IP6 fd00::1.5000 > fd00::2.9: UDP, length 5"}});
}

TEST(Decode, IpAndIcmp) {
  using T = Tins::ICMP;
  expect_lines("IP 198.18.0.1 > 198.18.0.2: ",
               {{icmp(T::ECHO_REQUEST, 0, with_number, std::string(56, 'x')),
                 "ICMP echo request, id 5, seq 6, length 64"},
                {icmp(T::ECHO_REPLY, 0, with_number), "ICMP echo reply, id 5, seq 6, length 8"},
                {icmp(T::DEST_UNREACHABLE, 0), "ICMP network unreachable, length 8"},
                {icmp(T::DEST_UNREACHABLE, 1), "ICMP host unreachable, length 8"},
                {icmp(T::DEST_UNREACHABLE, 2), "ICMP protocol unreachable, length 8"},
                {icmp(T::DEST_UNREACHABLE, 3), "ICMP port unreachable, length 8"},
                {icmp(T::DEST_UNREACHABLE, 4, [](T& message) { message.mtu(1400); }),
                 "ICMP unreachable, need to fragment (mtu 1400), length 8"},
                {icmp(T::DEST_UNREACHABLE, 13), "ICMP unreachable, code 13, length 8"},
                {icmp(T::TIME_EXCEEDED, 0), "ICMP time exceeded in-transit, length 8"},
                {icmp(T::TIME_EXCEEDED, 1), "ICMP time exceeded in reassembly, length 8"},
                {icmp(T::REDIRECT, 1, [](T& message) { message.gateway("198.18.0.9"); }),
                 "ICMP redirect to 198.18.0.9, length 8"},
                {icmp(15, 2), "ICMP type 15 code 2, length 8"},
                {fragment(Tins::IP::MORE_FRAGMENTS),
                 "UDP fragment, id 9, offset 1480, more follow, length 8"},
                {fragment(0), "UDP fragment, id 9, offset 1480, length 8"},
                {of_protocol(2), "IGMP, length 40"},
                {of_protocol(47), "GRE, length 40"},
                {of_protocol(50), "ESP, length 40"},
                {of_protocol(59), "no next header, length 40"},
                {of_protocol(89), "OSPF, length 40"},
                {of_protocol(103), "PIM, length 40"},
                {of_protocol(112), "VRRP, length 40"},
                {of_protocol(132), "SCTP, length 40"},
                {of_protocol(200), "protocol 200, length 40"}});
  // A header of 8 bytes.
  EXPECT_TRUE(contains(line(view(changed(udp(5000, 9), 14, 0x42))), "malformed, length 46: 42"));
}

TEST(Decode, Ip6AndIcmp6) {
  // A multicast listener report as Linux sends it: behind a hop-by-hop header with a router alert.
  Octets report(8 + 28);
  std::ranges::copy(Octets{58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0, 0, 0, 0, 1}, report.begin());
  const Octets more{17, 0, 0x05, 0xc9, 0, 0, 0, 7, 0, 9, 0, 9, 0, 8, 0, 0};
  expect_lines("IP6 fd00::1 > fd00::2: ",
               {{icmp6(128, 0, 8), "ICMP6, echo request, id 5, seq 6, length 8"},
                {icmp6(129, 0, 8), "ICMP6, echo reply, id 5, seq 6, length 8"},
                {icmp6(133, 0, 8), "ICMP6, router solicitation, length 8"},
                {icmp6(134, 0, 16), "ICMP6, router advertisement, lifetime 6s, length 16"},
                {icmp6(137, 0, 40), "ICMP6, redirect, ::9, length 40"},
                {icmp6(1, 4, 8), "ICMP6, destination unreachable, code 4, length 8"},
                {icmp6(2, 0, 8), "ICMP6, packet too big, length 8"},
                {icmp6(3, 0, 8), "ICMP6, time exceeded, length 8"},
                {icmp6(130, 0, 24), "ICMP6, multicast listener query, length 24"},
                {icmp6(131, 0, 24), "ICMP6, multicast listener report, length 24"},
                {icmp6(200, 3, 8), "ICMP6, type 200 code 3, length 8"},
                {neighbour(Tins::ICMPv6::NEIGHBOUR_SOLICIT, "fd00::1", "fd00::2"),
                 "ICMP6, neighbor solicitation, who has fd00::2, length 24"},
                {neighbour(Tins::ICMPv6::NEIGHBOUR_ADVERT, "fd00::1", "fd00::2"),
                 "ICMP6, neighbor advertisement, tgt is fd00::2, length 24"},
                {ipv6(0, report), "ICMP6, multicast listener report v2, length 28"},
                {ipv6(44, more), "UDP fragment, offset 1480, more follow, length 8"},
                {ipv6(44, changed(more, 3, 0xc8)), "UDP fragment, offset 1480, length 8"},
                // Authentication counts in words of 32 bits; hop-by-hop, routing, destination and
                // mobility in words of 64, of which the first does not count.
                {behind_header(51, 24, 4), "OSPF, length 30"},
                {behind_header(0, 16, 1), "OSPF, length 30"},
                {behind_header(43, 16, 1), "OSPF, length 30"},
                {behind_header(60, 16, 1), "OSPF, length 30"},
                {behind_header(135, 16, 1), "OSPF, length 30"},
                {ipv6(0, {59, 0, 1, 4, 0, 0, 0, 0}), "no next header, length 0"},
                // Without a length, it is as long as it is.
                {ipv6(89, Octets(30), false), "OSPF, length 30"}});
}

/// Tags with these types and bits, one behind the other, and zeros up to a frame of 60 bytes.
Octets tagged(const std::vector<std::pair<unsigned, unsigned>>& tags) {
  Octets bytes(60);
  std::size_t at = 12;
  for (const auto& [type, bits] : tags) {
    for (const unsigned half : {type >> 8U, type, bits >> 8U, bits})
      bytes[at++] = static_cast<std::uint8_t>(half);
  }
  return bytes;
}

TEST(Decode, WhatIsNoIp) {
  Octets bridge(43);  // the root's priority, the end of its address, and the bridge's priority
  std::ranges::copy(Octets{0x42, 0x42, 3}, bridge.begin());
  bridge[3 + 5] = bridge[3 + 17] = 0x80;
  bridge[3 + 12] = 9;
  const std::string zeros(32, '0');
  const std::string experimental = "ethertype Local Experimental 2 (0x88b6), length ";
  const std::pair<unsigned, unsigned> tag{0x8100, 2};
  const Octets data = frame_of(Tins::Dot1Q(101) / ip() / Tins::UDP(9, 5000));
  expect_lines(
      "",
      {{changed(data, 14, 0x60), "vlan 101, p 3, IP 198.18.0.1.5000 > 198.18.0.2.9: UDP, length 0"},
       {tagged({{0x88a8, 0x0fff}, {0x8100, 0xf001}}),
        "vlan 4095, p 0, vlan 1, p 7, DEI, LLC, length 0, malformed"},
       {tagged({tag, tag, tag, tag, tag}),
        "vlan 2, p 0, vlan 2, p 0, vlan 2, p 0, vlan 2, p 0, ethertype 802.1Q (0x8100), "
        "length 30: ..."},
       // A tag needs room for itself and for the type behind it.
       {raw(0x8100, {0x60, 5, 0x88, 0xb6}), "vlan 5, p 3, " + experimental + "0: "},
       {raw(0x8100, {0x60, 5, 0x88}), "ethertype 802.1Q (0x8100), length 3: 600588"},
       // Sixteen bytes are shown, and of more that there are more.
       {raw(0x88b6, {}), experimental + "0: "},
       {raw(0x88b6, Octets(16)), experimental + "16: " + zeros},
       {raw(0x88b6, Octets(17)), experimental + "17: " + zeros + "..."},
       {Octets(13), "frame of 13 bytes, malformed"},
       {ping_frame(), "shmif ping request, id 0x00000abc, seq 4, length 60"},
       {ping_frame(PingType::reply), "shmif ping reply, id 0x00000abc, seq 4, length 60"},
       // Up to 1500 a type is a length, and what follows it padding.
       {raw(1500, {0xaa}, 60), "LLC, dsap 0xaa, ssap 0x00, control 0x00, length 1500: ..."},
       {raw(1501, {0xaa}, 60), "ethertype Unknown (0x05dd), length 46: ..."},
       {raw(10, {0xaa}, 60), "LLC, dsap 0xaa, ssap 0x00, control 0x00, length 10: 00000000000000"},
       {raw(3, {0xaa, 0xbb, 0xcc}, 60), "LLC, dsap 0xaa, ssap 0xbb, control 0xcc, length 3: "},
       {raw(2, {0xaa}, 60), "LLC, length 2, malformed"},
       {raw(7, {0x42, 0x42, 3, 1, 2, 3, 4, 5}, 60),
        "STP, dsap 0x42, ssap 0x42, control 0x03, length 7: 01020304"},
       {raw(7, {0x42, 0x42, 4, 1, 2, 3, 4, 5}, 60),
        "LLC, dsap 0x42, ssap 0x42, control 0x04, length 7: 01020304"},
       {raw(37, {0x42, 0x42, 3}, 60), "STP, dsap 0x42, ssap 0x42, control 0x03, length 37: ..."},
       {raw(38, bridge, 60),
        "STP version 0, type 0x00, root 8000.00:00:00:00:00:09, bridge 8000.00:00:00:00:00:00, "
        "cost 0, port 0000, length 38"}});
  for (const auto& [type, name] : {std::pair{0x8809U, "Slow Protocols (0x8809)"},
                                   {0x8847U, "MPLS (0x8847)"},
                                   {0x8863U, "PPPoE discovery (0x8863)"},
                                   {0x8864U, "PPPoE session (0x8864)"},
                                   {0x888eU, "EAPOL (0x888e)"},
                                   {0x88b5U, "Local Experimental 1 (0x88b5)"},
                                   {0x88ccU, "LLDP (0x88cc)"},
                                   {0x88e5U, "MACsec (0x88e5)"},
                                   {0x88f7U, "PTP (0x88f7)"},
                                   {0xffffU, "Unknown (0xffff)"}}) {
    expect_lines("ethertype ",
                 {{raw(type, Octets(6)), std::string(name) + ", length 6: 000000000000"}});
  }
}

TEST(Decode, WhatStandsBeforeAndBehindALine) {
  setenv("TZ", "UTC", 1);
  tzset();
  const Octets bytes = raw(10, {}, 60);
  FrameView frame = view(bytes);
  frame.time_ns = (3600 + 2 * 60 + 3) * 1'000'000'000ULL + 7;
  EXPECT_TRUE(decode(frame).starts_with("01:02:03.000000007 LLC, "));
  EXPECT_TRUE(line(frame, {.sender = "web"}).starts_with("web: LLC,"));
  const std::string to = "b2:a0:00:00:00:01 > b2:a0:00:00:00:02, ";
  EXPECT_TRUE(line(frame, {.link_header = true}).starts_with(to + "802.3, length 60: LLC"));
  EXPECT_TRUE(line(view(raw(1501, Octets(46))), {.link_header = true})
                  .starts_with(to + "ethertype Unknown (0x05dd), length 60: "));
  frame.true_bytes = 1514;
  EXPECT_TRUE(line(frame, {.link_header = true}).starts_with(to + "802.3, length 1514: LLC"));
  EXPECT_TRUE(line(frame).ends_with(" [cut short: 60 of 1514 bytes]"));
  EXPECT_TRUE(line(view(changed(Octets(18), 17, 'A')), {.hex_dump = true})
                  .ends_with("\n\t0x0000:  0000 0000 0000 0000 0000 0000 0000 0000  "
                             "................\n"
                             "\t0x0010:  0041                                     .A"));
  EXPECT_TRUE(
      line(view(raw(0x88b6, {0x1f, 0x20, 0x21, 0x7e, 0x7f, 0x80, 0xff, 0})), {.hex_dump = true})
          .ends_with("  !~...."));
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
    Octets bytes(random() % 200);
    for (std::uint8_t& b : bytes) b = static_cast<std::uint8_t>(random());
    const unsigned type = kTypes[random() % kTypes.size()];
    if (!bytes.empty() && type == 0x0800) bytes[0] = 0x45;
    if (!bytes.empty() && type == 0x86dd) bytes[0] = 0x60;
    expect_one_line(raw(type, bytes));
  }
}

TEST(Decode, EveryDamagedOrCutShortPacketGivesALine) {
  const std::vector<Octets> whole{
      tcp(
          [](Tins::TCP& t) {
            t.mss(1460);
            t.timestamp(1, 2);
          },
          "abc"),
      icmp(Tins::ICMP::ECHO_REQUEST, 0, {}, "abc"),
      neighbour(Tins::ICMPv6::NEIGHBOUR_SOLICIT, "fd00::1", "fd00::2"),
      frame_of(Tins::IPv6("fd00::2", "fd00::1") / Tins::UDP(53, 53) / Tins::RawPDU("abc")),
      Tins::ARP::make_arp_request("198.18.0.2", "198.18.0.1", kFrom).serialize()};
  std::mt19937 random(2);
  for (const Octets& frame : whole) {
    for (std::size_t size = 14; size <= frame.size(); ++size) expect_one_line(sized(frame, size));
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
