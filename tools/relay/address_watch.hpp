#pragma once
// AddressWatch: claims the addresses of a host on its buses. Another host that has one of them is
// reported, and the others are announced to the neighbours.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/port.hpp"
#include "tap/address_claim.hpp"
#include "tap/bridge.hpp"
#include "tap/cidr.hpp"

namespace shmif::tools {

/// Threads: one at a time. Blocks: never for a peer.
class AddressWatch {
 public:
  /// `command`: begins each warning. `is_own`: whether a MAC address belongs to this host, too.
  /// Throws if the kernel provides no timer.
  AddressWatch(std::string command, std::function<bool(MacAddress)> is_own);
  AddressWatch(const AddressWatch&) = delete;
  AddressWatch& operator=(const AddressWatch&) = delete;

  /// The port, which must outlive this, has these addresses. `path`: of its bus. Result: its
  /// number, for look().
  std::size_t add(Port& port, const std::string& path, const std::vector<tap::Cidr>& addresses);
  /// Asks on each bus whether another host has the addresses. They are announced a moment later,
  /// when the answers have come: the host itself need not wait. Call it when the ports are up.
  void begin();
  /// Announces the addresses while the bridge runs; the bridge must not outlive this.
  Result<void> join(tap::Bridge& bridge);
  /// Looks at a frame that the port has received. Result: whether it is answered, and not for the
  /// host.
  bool look(std::size_t port, const FrameView& frame);

 private:
  struct Watched {
    Port* port;
    tap::AddressClaim claim;
  };

  std::string command_;
  std::function<bool(MacAddress)> is_own_;
  UniqueFd timer_;
  std::chrono::steady_clock::time_point begun_;
  std::vector<Watched> all_;
};

}  // namespace shmif::tools
