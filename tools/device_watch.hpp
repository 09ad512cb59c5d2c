#pragma once
// Shows on the bus how a network device is that a port stands for.

#include <cstdint>
#include <optional>
#include <string>

#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/guest_watch.hpp"
#include "tap/netlink.hpp"
#include "tap/netns.hpp"

namespace shmif::tools {

/// Keeps a port as its device is: the port has carrier while the device is up and has carrier, and
/// is promiscuous while somebody listens in on the device, as tcpdump does.
class DeviceWatch {
 public:
  /// `where`: the device's namespace; nullptr: this one. `always_promiscuous`: whoever listens.
  /// `port` must outlive this. Throws when the kernel gives no news of interfaces.
  DeviceWatch(const tap::NetNamespace* where, const std::string& device, Port& port,
              bool always_promiscuous);
  /// Follows the device while the bridge runs, which must not outlive this.
  Result<void> join(tap::Bridge& bridge);

 private:
  void follow(bool promiscuous, bool carrier);

  Port& port_;
  bool always_promiscuous_;
  tap::GuestWatch watch_;
};

/// The device as the kernel knows it; nothing when there is none of that name, or no name is given.
/// Throws when the namespace cannot be asked.
std::optional<tap::Interface> find_device(const tap::NetNamespace* where, const std::string& name);

/// Says once that frames are longer than the other side carries.
class TooLongNotice {
 public:
  /// `from` and `to`: as people call the sides. An MTU that is not known is left out.
  void say(std::size_t frame_bytes, const std::string& from, std::optional<std::uint32_t> from_mtu,
           const std::string& to, std::optional<std::uint32_t> to_mtu);

 private:
  bool said_ = false;
};

/// The MTU of a bus whose longest frame has so many bytes.
std::uint32_t mtu_for(std::size_t max_frame_bytes) noexcept;

}  // namespace shmif::tools
