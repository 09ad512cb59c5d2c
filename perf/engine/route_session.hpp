#pragma once
// RouteSession: what the engines tap and packet ask of a network namespace, beyond tap/netlink.hpp:
// a bridge, its ports, counters of interfaces, and whether an interface is in use.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "bus/result.hpp"
#include "shmif/mac.hpp"
#include "tap/netns.hpp"

namespace shmif::perf {

/// What the kernel has counted of an interface since it was made; "received" is what came in by its
/// cable (for a TAP device: from the program behind it).
struct InterfaceCounts {
  std::uint64_t tx_frames = 0, tx_bytes = 0, tx_dropped = 0;
  std::uint64_t rx_frames = 0, rx_bytes = 0, rx_dropped = 0;
};

/// A netlink socket in a namespace. Threads and processes: one at a time; a forked child opens one
/// of its own, as the answers are not marked for one or the other. Blocks: for the kernel's answer.
/// Errors: not_supported for what this kernel lacks, or the system's.
class RouteSession {
 public:
  static Result<RouteSession> open(const tap::NetNamespace& where);
  RouteSession(RouteSession&&) noexcept;
  RouteSession& operator=(RouteSession&&) noexcept;
  ~RouteSession();

  /// A bridge that sends nothing by itself: no spanning tree, no multicast snooping; and that never
  /// forgets. It is up when it returns.
  Result<void> add_bridge(const std::string& name);
  /// Makes an interface, which is up, a port of the bridge, behind which `host` is: frames for that
  /// address leave by this port alone, and those for nobody by none. Blocks: until the port
  /// forwards, at most five seconds.
  Result<void> add_port(const std::string& name, const std::string& bridge, MacAddress host);

  Result<unsigned> index_of(const std::string& name);
  std::optional<InterfaceCounts> counts(unsigned index) noexcept;
  /// What says that the interface is in use: "has the address 198.18.0.1/24". Empty when nothing
  /// does; what the kernel gives every interface by itself (link-local IPv6) says nothing.
  Result<std::string> use_of(const std::string& name);

 private:
  struct Impl;
  explicit RouteSession(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::perf
