#pragma once
// Shows on the bus the state of the network device behind a port.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/guest/watch.hpp"
#include "tap/netlink.hpp"
#include "tap/netns.hpp"
#include "tap/upkeep.hpp"

namespace shmif::tools {

/// Keeps a port in the state of its device. The port has carrier while the device is up and has
/// carrier. It hears the addresses that the device hears. While a program such as tcpdump captures
/// on the device, it hears all.
class DeviceWatch {
 public:
  enum class Hears : std::uint8_t {
    what_the_device_hears,
    all,             ///< always all; the port has the device's address
    all_for_others,  ///< always all: it is a bridge's port, with its own address
  };
  /// `where`: the device's namespace; nullptr means this one. `our_end`: the file of a TAP device,
  /// by which the watch finds the device if somebody moves it; for other devices, any value. `port`
  /// must outlive this. Throws if the kernel does not report changes of interfaces. `given`:
  /// addresses to put back when the device comes up again; the constructor fills in the device's
  /// number.
  DeviceWatch(const tap::NetNamespace* where, const std::string& device, int our_end, Port& port,
              Hears hears, tap::GivenAddresses given);
  /// Follows the device while the bridge runs; the bridge must not outlive this.
  Result<void> join(tap::Bridge& bridge);
  /// The link of the port is down, or up again: from now on, the port has no carrier, whatever news
  /// of the device come later.
  void set_link(bool up);

 private:
  void follow(const tap::GuestInterfaceState& now);
  void show();

  Port& port_;
  Hears hears_;
  tap::GuestWatch watch_;
  std::optional<tap::Upkeep> upkeep_;               ///< if the device was given addresses
  std::optional<tap::GuestInterfaceState> device_;  ///< what was last heard of it
  bool is_up_ = true;                               ///< the link of the port
};

/// A session with the namespace `where`; nullptr means this one. Throws if that fails.
tap::Netlink open_session(const tap::NetNamespace* where);

/// The device in the kernel's view; empty if no device has this name, or the name is empty. Throws
/// if the namespace cannot be queried.
std::optional<tap::Interface> find_device(const tap::NetNamespace* where, const std::string& name);

/// Says that a frame from `from` is too long for `to`, and what to do. The names begin with the
/// kind of link ("packet:br0"). An unknown MTU is left out.
std::string too_long_text(std::size_t frame_bytes, const std::string& from,
                          std::optional<std::uint32_t> from_mtu, const std::string& to,
                          std::optional<std::uint32_t> to_mtu);

/// Warns once that frames are longer than the other side can carry.
class TooLongNotice {
 public:
  /// The arguments are those of too_long_text().
  void say(std::size_t frame_bytes, const std::string& from, std::optional<std::uint32_t> from_mtu,
           const std::string& to, std::optional<std::uint32_t> to_mtu);

 private:
  bool said_ = false;
};

}  // namespace shmif::tools
