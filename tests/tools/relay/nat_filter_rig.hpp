#pragma once
// Frames for NatFilter, and what it says of them.

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bus/offload.hpp"
#include "shmif/loopback_link.hpp"
#include "tools/relay/nat_filter.hpp"

namespace shmif::tools::nat_filtering {

using enum NatRefusal;
using Bytes = std::vector<std::uint8_t>;
using Verdict = std::optional<NatRefusal>;

inline constexpr NatFlows::Time kNow{std::chrono::hours(1)};

inline const MacAddress kHostMac = *MacAddress::parse("b2:a0:00:00:00:15");
inline const MacAddress kGatewayMac = *MacAddress::parse("52:55:0a:00:02:02");
inline const MacAddress kNameServerMac = *MacAddress::parse("52:55:0a:00:02:03");
inline const MacAddress kOtherMac = *MacAddress::parse("b2:a0:00:00:00:16");
inline const MacAddress kEveryMac = *MacAddress::parse("ff:ff:ff:ff:ff:ff");

inline void put16(Bytes& bytes, std::size_t at, unsigned number) {
  bytes.at(at) = static_cast<std::uint8_t>(number >> 8U);
  bytes.at(at + 1) = static_cast<std::uint8_t>(number);
}
inline void put_address(Bytes& bytes, std::size_t at, const std::string& text) {
  ASSERT_EQ(::inet_pton(AF_INET, text.c_str(), &bytes.at(at)), 1) << text;
}
inline void put_mac(Bytes& bytes, std::size_t at, const MacAddress& mac) {
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

inline bool to_one(std::uint32_t) {
  return false;
}
inline constexpr NatFlowLimits kFew{.hosts = 8, .of_host = 8};

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

}  // namespace shmif::tools::nat_filtering
