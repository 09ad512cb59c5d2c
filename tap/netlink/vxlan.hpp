#pragma once
// A kernel bridge whose ports lead to other machines: VXLAN devices (RFC 7348), and what a bridge's
// port does with addresses.

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "shmif/mac.hpp"
#include "tap/cidr.hpp"
#include "tap/netns.hpp"

namespace shmif::tap {

/// The UDP port of VXLAN.
inline constexpr std::uint16_t kVxlanPort = 4789;
inline constexpr std::uint32_t kMaxVxlanId = 0xff'ffff;

/// How much longer a frame's IP packet is than the frame's payload: the headers of Ethernet, VXLAN,
/// UDP and IP.
constexpr std::uint32_t vxlan_bytes(bool over_v6) noexcept {
  constexpr std::uint32_t kEthernet = 14;
  constexpr std::uint32_t kVxlanAndUdp = 8 + 8;
  return kEthernet + kVxlanAndUdp + (over_v6 ? 40U : 20U);
}

struct VxlanOptions {
  std::uint32_t id = 0;             ///< at most kMaxVxlanId
  IpAddress local = {};             ///< source of its packets
  std::uint16_t port = kVxlanPort;  ///< UDP port, here and at the peers
  /// Learn from packets which machine has which address. Switch it off if a routing program tells.
  bool learning = true;
  std::uint32_t mtu = 1500;
  MacAddress mac = {};
};

/// Makes a VXLAN device in the namespace `where`. Its packets leave through the namespace
/// `underlay` as long as it exists, so `where` needs no connection to any network. Threads: any.
/// Blocks: for the kernel's answer; so do all functions here. Errors: EPERM, EEXIST (the underlay
/// has a device with this number and port), EOPNOTSUPP, EADDRNOTAVAIL; each message says what to
/// do.
Result<void> add_vxlan(const std::string& name, const NetNamespace& where,
                       const NetNamespace& underlay, const VxlanOptions& options);

/// Sends frames for group addresses and unknown addresses also to `peer`. Errors: ENODEV, an errno.
Result<void> add_flood_peer(const std::string& name, const NetNamespace& where,
                            const IpAddress& peer);

/// Sets up the port of a bridge for a routing program that tells the kernel who is where: the port
/// learns no addresses, and the bridge itself answers questions for neighbours that it knows.
/// Errors: ENODEV, an errno.
Result<void> let_routing_tell(const std::string& port, const NetNamespace& where);

/// Adds an IPv4 default route that leads to the interface itself, without a gateway. Errors:
/// ENODEV, an errno.
Result<void> route_everything_to(const std::string& name, const NetNamespace& where);

}  // namespace shmif::tap
