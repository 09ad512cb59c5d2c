#include "tools/packets/packets.hpp"

#include <tins/tins.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <ctime>
#include <optional>
#include <span>

#include "bus/network_bytes.hpp"
#include "shmif/ping.hpp"

// libtins 4.0 parses the headers, one protocol at a time. It throws for malformed packets, and it
// recurses into packets within packets. So it gets only the first kHeaderBytes of a packet, and
// deep nesting ends early. Lengths come from the headers and the frame, never from the part that
// libtins was given. Application protocols are not parsed; its DNS parser can loop forever.

namespace shmif::tools {
namespace {

constexpr std::size_t kHeaderBytes = 512;
constexpr unsigned kMaxTags = 4;

constexpr unsigned kTypeIpv4 = 0x0800, kTypeArp = 0x0806, kTypeIpv6 = 0x86dd;

using Octets = std::span<const std::uint8_t>;

/// snprintf into a string, for short lines.
[[gnu::format(printf, 1, 2)]] std::string text(const char* format, ...) {
  std::array<char, 256> line{};
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line.data(), line.size(), format, arguments);
  va_end(arguments);
  return line.data();
}

unsigned get16(Octets bytes, std::size_t at) {
  return static_cast<unsigned>(bytes[at] << 8U | bytes[at + 1]);
}

/// The part of a packet that libtins may see.
std::uint32_t header_part(Octets packet) {
  return static_cast<std::uint32_t>(std::min(packet.size(), kHeaderBytes));
}

std::string time_of_day(std::uint64_t time_ns) {
  const auto seconds = static_cast<std::time_t>(time_ns / 1'000'000'000U);
  std::tm local{};
  localtime_r(&seconds, &local);
  return text("%02d:%02d:%02d.%09" PRIu64, local.tm_hour, local.tm_min, local.tm_sec,
              time_ns % 1'000'000'000U);
}

std::string hex(Octets bytes, std::size_t max) {
  std::string out;
  for (std::size_t i = 0; i < std::min(bytes.size(), max); ++i) out += text("%02x", bytes[i]);
  if (bytes.size() > max) out += "...";
  return out;
}

const char* ether_type_name(unsigned type) {
  switch (type) {
    case kTypeIpv4: return "IPv4";
    case kTypeArp: return "ARP";
    case kTypeIpv6: return "IPv6";
    case 0x8100: return "802.1Q";
    case 0x88a8: return "802.1ad";
    case 0x8809: return "Slow Protocols";
    case 0x8847: return "MPLS";
    case 0x8863: return "PPPoE discovery";
    case 0x8864: return "PPPoE session";
    case 0x888e: return "EAPOL";
    case 0x88b5: return "Local Experimental 1";
    case 0x88b6: return "Local Experimental 2";
    case 0x88cc: return "LLDP";
    case 0x88e5: return "MACsec";
    case 0x88f7: return "PTP";
    default: return "Unknown";
  }
}

std::string protocol_name(unsigned protocol) {
  switch (protocol) {
    case 1: return "ICMP";
    case 2: return "IGMP";
    case 4: return "IP-in-IP";
    case 6: return "TCP";
    case 17: return "UDP";
    case 41: return "IPv6-in-IP";
    case 47: return "GRE";
    case 50: return "ESP";
    case 51: return "AH";
    case 58: return "ICMP6";
    case 59: return "no next header";
    case 89: return "OSPF";
    case 103: return "PIM";
    case 112: return "VRRP";
    case 132: return "SCTP";
    default: return text("protocol %u", protocol);
  }
}

// ---- Layer 4 ----

/// The properties of an IP packet that layer 4 needs.
struct Addresses {
  std::string family;  // "IP", "IP6"
  std::string source, destination;
  std::size_t bytes = 0;  // length of layer 4, as the IP header says

  std::string line() const { return family + ' ' + source + " > " + destination + ": "; }
  std::string line(unsigned from_port, unsigned to_port) const {
    return family + ' ' + source + text(".%u > ", from_port) + destination + text(".%u: ", to_port);
  }
};

std::size_t minus(std::size_t all, std::size_t part) {
  return all > part ? all - part : 0;
}

std::string tcp_flags(const Tins::TCP& tcp) {
  constexpr std::array<std::pair<unsigned, char>, 8> kFlags{{{Tins::TCP::FIN, 'F'},
                                                             {Tins::TCP::SYN, 'S'},
                                                             {Tins::TCP::RST, 'R'},
                                                             {Tins::TCP::PSH, 'P'},
                                                             {Tins::TCP::URG, 'U'},
                                                             {Tins::TCP::ECE, 'E'},
                                                             {Tins::TCP::CWR, 'W'},
                                                             {Tins::TCP::ACK, '.'}}};
  const auto set = static_cast<unsigned>(tcp.flags());
  std::string out;
  for (const auto& [bit, letter] : kFlags) {
    if ((set & bit) != 0) out += letter;
  }
  return out.empty() ? "none" : out;
}

std::string tcp_option(const Tins::TCP::option& option) {
  const Octets data(option.data_ptr(), option.data_size());
  const auto get32 = [&](std::size_t at) { return get16(data, at) << 16U | get16(data, at + 2); };
  switch (option.option()) {
    case Tins::TCP::EOL: return "eol";
    case Tins::TCP::NOP: return "nop";
    case Tins::TCP::MSS: return data.size() == 2 ? text("mss %u", get16(data, 0)) : "mss ?";
    case Tins::TCP::WSCALE: return data.size() == 1 ? text("wscale %u", data[0]) : "wscale ?";
    case Tins::TCP::SACK_OK: return "sackOK";
    case Tins::TCP::SACK: return text("sack %zu", data.size() / 8);
    case Tins::TCP::TSOPT:
      return data.size() == 8 ? text("TS val %u ecr %u", get32(0), get32(4)) : "TS ?";
    default: return text("opt-%u", static_cast<unsigned>(option.option()));
  }
}

std::string describe(const Tins::TCP& tcp, const Addresses& ip) {
  const std::size_t length = minus(ip.bytes, std::size_t{4} * tcp.data_offset());
  std::string out = ip.line(tcp.sport(), tcp.dport()) + "Flags [" + tcp_flags(tcp) + ']';
  out += text(", seq %u", tcp.seq());
  if (length > 0) out += text(":%u", static_cast<std::uint32_t>(tcp.seq() + length));
  if (tcp.get_flag(Tins::TCP::ACK) != 0) out += text(", ack %u", tcp.ack_seq());
  out += text(", win %u", tcp.window());
  if (tcp.get_flag(Tins::TCP::URG) != 0) out += text(", urg %u", tcp.urg_ptr());
  std::string options;
  for (const Tins::TCP::option& option : tcp.options()) {
    options += (options.empty() ? "" : ",") + tcp_option(option);
  }
  if (!options.empty()) out += ", options [" + options + ']';
  return out + text(", length %zu", length);
}

std::string describe(const Tins::UDP& udp, const Addresses& ip) {
  constexpr unsigned kUdpHeaderBytes = 8;
  // Zero means that 16 bits cannot express the length (RFC 2675); then the IP header has it.
  const std::size_t bytes = udp.length() == 0 ? ip.bytes : udp.length();
  std::string out = ip.line(udp.sport(), udp.dport()) + "UDP";
  if ((udp.sport() == 67 || udp.sport() == 68) && (udp.dport() == 67 || udp.dport() == 68)) {
    out += ", DHCP";
  }
  if (bytes > ip.bytes) out += text(", bad length %zu > %zu", bytes, ip.bytes);
  return out + text(", length %zu", minus(bytes, kUdpHeaderBytes));
}

std::string unreachable(unsigned code, unsigned mtu) {
  constexpr std::array<const char*, 4> kWhat{"network", "host", "protocol", "port"};
  if (code < kWhat.size()) return text("%s unreachable", kWhat[code]);
  if (code == 4) return text("unreachable, need to fragment (mtu %u)", mtu);
  return text("unreachable, code %u", code);
}

std::string describe(const Tins::ICMP& icmp, const Addresses& ip) {
  std::string what;
  switch (icmp.type()) {
    case Tins::ICMP::ECHO_REQUEST:
    case Tins::ICMP::ECHO_REPLY:
      what = text("echo %s, id %u, seq %u",
                  icmp.type() == Tins::ICMP::ECHO_REQUEST ? "request" : "reply", icmp.id(),
                  icmp.sequence());
      break;
    case Tins::ICMP::DEST_UNREACHABLE: what = unreachable(icmp.code(), icmp.mtu()); break;
    case Tins::ICMP::TIME_EXCEEDED:
      what = icmp.code() == 0 ? "time exceeded in-transit" : "time exceeded in reassembly";
      break;
    case Tins::ICMP::REDIRECT: what = "redirect to " + icmp.gateway().to_string(); break;
    default: what = text("type %u code %u", static_cast<unsigned>(icmp.type()), icmp.code());
  }
  return ip.line() + "ICMP " + what + text(", length %zu", ip.bytes);
}

std::string describe(const Tins::ICMPv6& icmp, const Addresses& ip) {
  using T = Tins::ICMPv6;
  std::string what;
  switch (icmp.type()) {
    case T::ECHO_REQUEST:
    case T::ECHO_REPLY:
      what = text("echo %s, id %u, seq %u", icmp.type() == T::ECHO_REQUEST ? "request" : "reply",
                  icmp.identifier(), icmp.sequence());
      break;
    case T::NEIGHBOUR_SOLICIT:
      what = "neighbor solicitation, who has " + icmp.target_addr().to_string();
      break;
    case T::NEIGHBOUR_ADVERT:
      what = "neighbor advertisement, tgt is " + icmp.target_addr().to_string();
      break;
    case T::ROUTER_SOLICIT: what = "router solicitation"; break;
    case T::ROUTER_ADVERT:
      what = text("router advertisement, lifetime %us", icmp.router_lifetime());
      break;
    case T::REDIRECT: what = "redirect, " + icmp.dest_addr().to_string(); break;
    case T::DEST_UNREACHABLE: what = text("destination unreachable, code %u", icmp.code()); break;
    case T::PACKET_TOOBIG: what = "packet too big"; break;
    case T::TIME_EXCEEDED: what = "time exceeded"; break;
    case T::MGM_QUERY: what = "multicast listener query"; break;
    case T::MGM_REPORT: what = "multicast listener report"; break;
    case T::MLD2_REPORT: what = "multicast listener report v2"; break;
    default: what = text("type %u code %u", static_cast<unsigned>(icmp.type()), icmp.code());
  }
  return ip.line() + "ICMP6, " + what + text(", length %zu", ip.bytes);
}

/// `inner`: the layer 4 that libtins parsed, or nullptr.
std::string describe(const Tins::PDU* inner, unsigned protocol, const Addresses& ip) {
  if (inner != nullptr) {
    switch (inner->pdu_type()) {
      case Tins::PDU::TCP: return describe(static_cast<const Tins::TCP&>(*inner), ip);
      case Tins::PDU::UDP: return describe(static_cast<const Tins::UDP&>(*inner), ip);
      case Tins::PDU::ICMP: return describe(static_cast<const Tins::ICMP&>(*inner), ip);
      case Tins::PDU::ICMPv6: return describe(static_cast<const Tins::ICMPv6&>(*inner), ip);
      default: break;
    }
  }
  return ip.line() + protocol_name(protocol) + text(", length %zu", ip.bytes);
}

// ---- Layer 3 ----

std::string describe_ipv4(Octets packet) {
  const Tins::IP ip(packet.data(), header_part(packet));
  const std::size_t header = std::size_t{4} * ip.head_len();
  // Segmentation offload makes packets with a total length of zero, because they are longer than 16
  // bits can express.
  const std::size_t total = ip.tot_len() == 0 ? packet.size() : ip.tot_len();
  const Addresses addresses{"IP", ip.src_addr().to_string(), ip.dst_addr().to_string(),
                            minus(total, header)};
  if (ip.is_fragmented()) {
    const bool more = (ip.flags() & Tins::IP::MORE_FRAGMENTS) != 0;
    return addresses.line() + protocol_name(ip.protocol()) +
           text(" fragment, id %u, offset %u%s, length %zu", ip.id(), ip.fragment_offset() * 8U,
                more ? ", more follow" : "", addresses.bytes);
  }
  return describe(ip.inner_pdu(), ip.protocol(), addresses);
}

/// Where layer 4 begins after an IPv6 header and its extension headers.
struct Ipv6Payload {
  unsigned protocol = 0;
  std::size_t offset = 40;
  std::optional<unsigned> fragment;  // offset and flag of the fragment header, unchanged
};

Ipv6Payload find_ipv6_payload(Octets packet, unsigned next_header) {
  constexpr unsigned kHopByHop = 0, kRouting = 43, kFragment = 44, kAuthentication = 51,
                     kDestination = 60, kMobility = 135;
  Ipv6Payload found{.protocol = next_header, .fragment = {}};
  while (found.offset + 8 <= packet.size()) {  // every extension header has 8 bytes or more
    std::size_t bytes = 0;
    switch (found.protocol) {
      case kHopByHop:
      case kRouting:
      case kDestination:
      case kMobility: bytes = (packet[found.offset + 1] + std::size_t{1}) * 8; break;
      case kAuthentication: bytes = (packet[found.offset + 1] + std::size_t{2}) * 4; break;
      case kFragment:
        bytes = 8;
        found.fragment = get16(packet, found.offset + 2);
        break;
      default: return found;
    }
    found.protocol = packet[found.offset];
    found.offset += bytes;
  }
  return found;
}

std::string describe_ipv6(Octets packet) {
  const Tins::IPv6 ip(packet.data(), header_part(packet));
  const Ipv6Payload payload = find_ipv6_payload(packet, ip.next_header());
  // A payload length of zero comes from segmentation offload, or is a jumbogram.
  const std::size_t bytes =
      ip.payload_length() == 0 ? minus(packet.size(), bus::kIpv6Bytes) : ip.payload_length();
  const Addresses addresses{"IP6", ip.src_addr().to_string(), ip.dst_addr().to_string(),
                            minus(bytes, payload.offset - bus::kIpv6Bytes)};
  if (payload.fragment) {
    return addresses.line() + protocol_name(payload.protocol) +
           text(" fragment, offset %u%s, length %zu", *payload.fragment & ~7U,
                (*payload.fragment & 1U) != 0 ? ", more follow" : "", addresses.bytes);
  }
  return describe(ip.inner_pdu(), payload.protocol, addresses);
}

std::string describe_arp(Octets packet) {
  const Tins::ARP arp(packet.data(), header_part(packet));
  const std::string sender = arp.sender_ip_addr().to_string();
  std::string what;
  switch (arp.opcode()) {
    case Tins::ARP::REQUEST:
      what = "Request who-has " + arp.target_ip_addr().to_string() + " tell " + sender;
      break;
    case Tins::ARP::REPLY:
      what = "Reply " + sender + " is-at " + arp.sender_hw_addr().to_string();
      break;
    default: what = text("operation %u", arp.opcode());
  }
  return "ARP, " + what + text(", length %zu", packet.size());
}

std::string describe_stp(Octets bpdu, std::size_t length) {
  const Tins::STP stp(bpdu.data(), header_part(bpdu));
  const auto bridge = [](const Tins::STP::bpdu_id_type& id) {
    return text("%x.",
                static_cast<unsigned>(id.priority) << 12U | static_cast<unsigned>(id.ext_id)) +
           id.id.to_string();
  };
  return text("STP version %u, type 0x%02x, root ", stp.proto_version(), stp.bpdu_type()) +
         bridge(stp.root_id()) + ", bridge " + bridge(stp.bridge_id()) +
         text(", cost %u, port %04x, length %zu", stp.root_path_cost(), stp.port_id(), length);
}

/// A frame with a length instead of an EtherType: IEEE 802.2.
std::string describe_llc(Octets packet, unsigned length) {
  if (length < packet.size()) packet = packet.first(length);  // the rest is padding
  constexpr std::size_t kLlcBytes = 3;
  constexpr std::size_t kMinBpdu = 35;  // a configuration BPDU; the change notice is shorter
  if (packet.size() < kLlcBytes) return text("LLC, length %u, malformed", length);
  const bool spanning_tree = packet[0] == 0x42 && packet[1] == 0x42 && packet[2] == 0x03;
  if (spanning_tree && packet.size() >= kLlcBytes + kMinBpdu) {
    return describe_stp(packet.subspan(kLlcBytes), length);
  }
  const char* const name = spanning_tree ? "STP" : "LLC";
  return text("%s, dsap 0x%02x, ssap 0x%02x, control 0x%02x, length %u: ", name, packet[0],
              packet[1], packet[2], length) +
         hex(packet.subspan(kLlcBytes), 16);
}

std::string describe_ping(const Ping& ping) {
  return text("shmif ping %s, id 0x%08x, seq %u, length %zu",
              ping.type == PingType::request ? "request" : "reply", ping.id, ping.sequence,
              kPingFrameBytes);
}

std::string describe_payload(unsigned type, Octets packet) {
  if (type <= 1500) return describe_llc(packet, type);
  switch (type) {
    case kTypeIpv4: return describe_ipv4(packet);
    case kTypeIpv6: return describe_ipv6(packet);
    case kTypeArp: return describe_arp(packet);
    default:
      return text("ethertype %s (0x%04x), length %zu: ", ether_type_name(type), type,
                  packet.size()) +
             hex(packet, 16);
  }
}

// ---- The frame ----

std::string hex_dump(Octets bytes) {
  constexpr std::size_t kPerLine = 16;
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += kPerLine) {
    const Octets part = bytes.subspan(at, std::min(kPerLine, bytes.size() - at));
    out += text("\t0x%04zx: ", at);
    for (std::size_t i = 0; i < kPerLine; ++i) {
      if (i % 2 == 0) out += ' ';
      out += i < part.size() ? text("%02x", part[i]) : "  ";
    }
    out += "  ";
    for (const std::uint8_t b : part) out += b >= 0x20 && b < 0x7f ? static_cast<char>(b) : '.';
    out += '\n';
  }
  return out;
}

/// Skips the tags: `at` is the offset of the EtherType, and is moved. Result: the contents of the
/// tags.
std::string describe_tags(Octets bytes, std::size_t& at) {
  std::string out;
  for (unsigned tags = 0; tags < kMaxTags; ++tags) {
    const unsigned type = get16(bytes, at);
    if ((type != 0x8100 && type != 0x88a8) || bytes.size() < at + 6) break;
    const unsigned tag = get16(bytes, at + 2);
    out += text("vlan %u, p %u%s, ", tag & 0xfffU, tag >> 13U, (tag & 0x1000U) != 0 ? ", DEI" : "");
    at += 4;
  }
  return out;
}

std::string describe_frame(const FrameView& frame, Octets bytes, bool link_header) {
  if (bytes.size() < kEthernetHeaderBytes)
    return text("frame of %zu bytes, malformed", bytes.size());
  std::string out;
  if (link_header) {
    const unsigned type = get16(bytes, 12);
    out = frame.source().to_string() + " > " + frame.destination().to_string();
    out += type <= 1500 ? ", 802.3" : text(", ethertype %s (0x%04x)", ether_type_name(type), type);
    out += text(", length %zu: ", frame.truncated() ? frame.true_bytes : frame.size());
  }
  if (const std::optional<Ping> ping = read_ping(frame)) return out + describe_ping(*ping);
  std::size_t at = 12;
  out += describe_tags(bytes, at);
  const unsigned type = get16(bytes, at);
  const Octets packet = bytes.subspan(at + 2);
  try {
    out += describe_payload(type, packet);
  } catch (const std::exception&) {  // libtins throws for contradictory headers
    out += text("ethertype %s (0x%04x), malformed, length %zu: ", ether_type_name(type), type,
                packet.size()) +
           hex(packet, 16);
  }
  return out;
}

}  // namespace

std::string decode(const FrameView& frame, const DecodeOptions& options) {
  const Octets bytes(reinterpret_cast<const std::uint8_t*>(frame.bytes.data()), frame.size());
  std::string out = time_of_day(frame.time_ns) + ' ';
  if (!options.sender.empty()) out.append(options.sender).append(": ");
  out += describe_frame(frame, bytes, options.link_header);
  if (frame.truncated())
    out += text(" [cut short: %zu of %u bytes]", frame.size(), frame.true_bytes);
  out += '\n';
  if (options.hex_dump) out += hex_dump(bytes);
  return out;
}

}  // namespace shmif::tools
