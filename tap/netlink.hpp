#pragma once
// Interfaces, addresses and routes of a network namespace, over rtnetlink (libnl-route-3).

#include <net/if.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "shmif/mac.hpp"
#include "tap/cidr.hpp"
#include "tap/netns.hpp"

namespace shmif::tap {

/// An interface as the kernel described it when asked.
struct Interface {
  unsigned index = 0;     ///< the kernel's number of it in its namespace
  std::string name;       ///< it can change; `index` does not
  unsigned flags = 0;     ///< IFF_*
  std::uint32_t mtu = 0;  ///< in bytes of layer 3
  MacAddress mac;         ///< zero if the interface has none
  /// How many users have set promiscuous mode: the administrator, tcpdump, a bridge that the
  /// interface belongs to.
  unsigned promiscuity = 0;

  /// Whether it is set up (IFF_UP). It may still have no carrier.
  bool is_up() const noexcept { return (flags & IFF_UP) != 0; }
  /// Whether it receives the frames for all addresses.
  bool is_promiscuous() const noexcept { return promiscuity > 0; }
  /// Up, and its other end is there: frames pass.
  bool has_carrier() const noexcept { return carries(flags); }

  /// The same, from flags alone. The kernel changes IFF_LOWER_UP at once, and IFF_RUNNING up to a
  /// second later. Until then, an interface that has just got its carrier passes no frames yet, and
  /// before Linux 6.8 an interface that has lost its carrier still has IFF_RUNNING.
  static constexpr bool carries(unsigned flags) noexcept {
    constexpr unsigned kLowerUp = 1U << 16U;  // IFF_LOWER_UP, which net/if.h lacks
    constexpr unsigned kAll = IFF_UP | IFF_RUNNING | kLowerUp;
    return (flags & kAll) == kAll;
  }
};

/// An interface with the addresses that it has.
struct AddressedInterface {
  std::string name;             ///< of the interface
  MacAddress mac;               ///< zero if the interface has none
  std::vector<Cidr> addresses;  ///< of IPv4 and IPv6, in the order of the kernel
};

/// A default route of the main table, with the metric that a route has if nobody chose one.
struct DefaultRoute {
  std::string interface;  ///< the interface that it leads out of
  IpAddress gateway;      ///< the next hop
};

/// Whether `name` can name an interface: 1 to 15 bytes without '/', ':', '%', blanks and control
/// characters; "." and ".." are not allowed.
bool is_interface_name(std::string_view name) noexcept;

/// A session with one namespace's rtnetlink. It stays with the namespace in which it was opened,
/// wherever the calling thread goes.
/// Threads: one at a time. Blocks: for the kernel's answer (microseconds; while an interface is
/// being unregistered elsewhere, up to milliseconds). Errors name the interface, what was tried and
/// what to do.
class Netlink {
 public:
  /// Opens a session in the calling thread's namespace.
  static Result<Netlink> open();
  /// Opens a session in another namespace. That may belong to another user namespace, if the caller
  /// may enter it.
  static Result<Netlink> open(const NetNamespace& where);
  Netlink(Netlink&&) noexcept;             ///< the other may then only be assigned to or destroyed
  Netlink& operator=(Netlink&&) noexcept;  ///< closes its session
  ~Netlink();

  /// Errors: ENODEV.
  Result<Interface> interface(const std::string& name) const;

  /// The current name of the interface with this number; empty if there is no such interface.
  std::string name_of(unsigned index) const;

  /// All interfaces, in the order of their numbers.
  Result<std::vector<AddressedInterface>> interfaces() const;

  /// Whether the TAP device was last attached with a header before each frame (IFF_VNET_HDR). Empty
  /// if there is no such device.
  std::optional<bool> tap_has_header(const std::string& name) const;

  /// Whether packets for the address go to all machines of a network, or to a group. The kernel's
  /// routes decide, which know the broadcast addresses of its networks. False if there is no route.
  Result<bool> leads_to_many(const IpAddress& address) const;

  /// Sets the interface up, or down if `up` is false. Errors: ENODEV; EPERM.
  Result<void> set_up(const std::string& name, bool up = true);
  /// Sets the MTU, in bytes of layer 3. Errors: ENODEV; EPERM; EINVAL if the device cannot have it.
  Result<void> set_mtu(const std::string& name, std::uint32_t mtu);
  /// Sets the MAC address. Some drivers allow it only while the interface is down.
  Result<void> set_mac(const std::string& name, MacAddress mac);
  /// The interface must be down.
  Result<void> rename(const std::string& name, const std::string& to);
  /// Deletes the interface. With one end of a veth pair, the other end goes, too.
  Result<void> remove(const std::string& name);
  /// The interface arrives there down and without addresses.
  Result<void> move_to(const std::string& name, const NetNamespace& where);

  /// Creates a pair of veth interfaces: `name` here, and `peer` here or, if given, in
  /// `peer_namespace`.
  Result<void> add_veth(const std::string& name, const std::string& peer,
                        const NetNamespace* peer_namespace = nullptr);

  /// Creates an Ethernet bridge that changes as little as a cable would: no spanning tree, no
  /// multicast snooping, and frames for 01:80:c2:00:00:03 to 0f (LLDP, PTP, 802.1X) pass. The
  /// kernel keeps PAUSE (01) and LACP (02). The MAC address is the bridge's for good. Errors:
  /// EOPNOTSUPP (the kernel has no bridges), EEXIST.
  Result<void> add_bridge(const std::string& name, MacAddress mac);
  /// Makes the interface a port of `bridge`. The bridge's MTU becomes the smallest MTU of its
  /// ports.
  Result<void> add_to_bridge(const std::string& name, const std::string& bridge);

  /// An IPv4 address comes with its network's broadcast address. An IPv6 address can be used at
  /// once: it skips duplicate address detection (IFA_F_NODAD). If `optimistic`, the kernel looks
  /// for duplicates meanwhile (IFA_F_OPTIMISTIC, RFC 4429), if the interface's optimistic_dad
  /// allows that.
  Result<void> add_address(const std::string& name, const Cidr& cidr, bool optimistic = false);
  /// Removes an address that the interface has with this very prefix. Errors: ENODEV, or it has no
  /// such address.
  Result<void> remove_address(const std::string& name, const Cidr& cidr);
  /// The interface must be up, and the gateway in one of its networks. If the interface has an
  /// address that is alone in its network (/32, /128), the gateway may have any address.
  Result<void> add_default_route(const std::string& name, const IpAddress& gateway);

  /// Removes what add_default_route() added. Errors: ENODEV, or the kernel has no such route.
  Result<void> remove_default_route(const std::string& name, const IpAddress& gateway);
  /// The default route that prevents another one of this family; empty if there is no such route.
  std::optional<DefaultRoute> default_route(int family) const;

  /// Tells the kernel the MAC address of a neighbour, so that it need not ask for it.
  Result<void> add_neighbour(const std::string& name, const IpAddress& address, MacAddress mac);

  /// Blocks: until frames can pass, at most `timeout`. Errors: timed_out, ENODEV.
  Result<void> wait_for_carrier(const std::string& name, std::chrono::milliseconds timeout);

  /// Waits until the interface has a link-local address, and may use each that it has: the kernel
  /// does not look for duplicates of it (any more). Without one, the kernel cannot ask for the
  /// neighbours of other addresses. Result: false if `timeout` was too short, or if the interface
  /// has no IPv6: that is seen after 100 ms. Errors: ENODEV.
  Result<bool> wait_for_link_local(const std::string& name, std::chrono::milliseconds timeout);

  /// Keeps the kernel from using IPv6 on the interface by itself. Call it before the interface goes
  /// up: then no link-local address is made. If /proc/sys can be written, IPv6 is off altogether.
  Result<void> disable_ipv6(const std::string& name);
  /// Switches off checksum, segmentation and receive offloads, so that every frame that leaves the
  /// interface is whole. Skips those that a driver does not have.
  Result<void> disable_offloads(const std::string& name);
  /// Switches off what an Offload cannot describe: segmentation inside tunnels, and segmentation of
  /// anything but TCP and UDP; before Linux 6.2, also of UDP. The kernel then splits such frames
  /// itself. If it left a frame whole, a packet socket would get no description of it, or a wrong
  /// one.
  Result<void> disable_unspeakable_offloads(const std::string& name);

 private:
  struct Impl;
  explicit Netlink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::tap
