#pragma once
// InterfaceWatch: hears when an interface changes, so that a port can follow it.

#include <string>

#include "bus/result.hpp"
#include "tap/descriptor.hpp"
#include "tap/netlink.hpp"
#include "tap/netns.hpp"

namespace shmif::tap {

/// Follows one interface of one namespace. A bridge watches it so that its port on the bus is
/// promiscuous while the guest's interface is (somebody runs tcpdump or a bridge there). Threads:
/// one at a time.
class InterfaceWatch {
 public:
  /// Errors: the system's; EPERM when the namespace may not be entered.
  static Result<InterfaceWatch> open(const NetNamespace& where, std::string interface);

  /// Readable (POLLIN) when something may have changed.
  int descriptor() const noexcept { return events_.get(); }
  /// Takes in what was told, and looks at the interface. Blocks: never for news.
  /// Errors: ENODEV once it is gone.
  Result<Interface> read();

 private:
  InterfaceWatch(Netlink netlink, Descriptor events, std::string interface)
      : netlink_(std::move(netlink)),
        events_(std::move(events)),
        interface_(std::move(interface)) {}
  Netlink netlink_;
  Descriptor events_;
  std::string interface_;
};

}  // namespace shmif::tap
