#pragma once
// AddressWatch: claims the addresses of a host on its buses. If another host has one of them, it
// reports that, and tells the other host, which then reports it, too. It announces the other
// addresses to the neighbours.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/cidr.hpp"
#include "tap/guest/neighbours.hpp"

namespace shmif::tools {

/// Threads: one at a time. Blocks: never for a peer.
class AddressWatch {
 public:
  /// `command` begins each warning. `is_own` says whether a MAC address belongs to this host, too.
  /// Throws if the kernel provides no timer.
  AddressWatch(std::string command, std::function<bool(MacAddress)> is_own);
  AddressWatch(const AddressWatch&) = delete;
  AddressWatch& operator=(const AddressWatch&) = delete;

  /// The port has these addresses. It must outlive this object. `path`: path of its bus. Result:
  /// the port's number, for look().
  std::size_t add(Port& port, const std::string& path, const std::vector<tap::Cidr>& addresses);
  /// Asks on each bus whether another host has the addresses. A moment later, when the answers have
  /// come, announces them; the host need not wait for this. Call it when the ports are up.
  void begin();
  /// Announces the addresses while the bridge runs; the bridge must not outlive this.
  Result<void> join(tap::Bridge& bridge);
  /// Looks at a frame that the port has received. Result: true if the frame is not for the host,
  /// because the watch has answered it, or because it is what the watch of another host told.
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
