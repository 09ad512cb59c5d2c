#pragma once
// RouteSession: what the engines tap and packet need from a network namespace, beyond
// tap/netlink.hpp: a bridge, its ports, counters of interfaces, and whether an interface is in use.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "shmif/mac.hpp"
#include "tap/netns.hpp"

namespace shmif::perf {

/// The kernel's counts of an interface since it was made. "Received" frames came in from its cable
/// (for a TAP device: from its program).
struct InterfaceCounts {
  std::uint64_t tx_frames = 0, tx_bytes = 0, tx_dropped = 0;
  std::uint64_t rx_frames = 0, rx_bytes = 0, rx_dropped = 0;
};

/// A netlink socket in a namespace. Threads and processes: one at a time. A forked child opens its
/// own socket, because both would read the same answers. Blocks: for the kernel's answer. Errors:
/// not_supported if this kernel lacks a feature, or an errno.
class RouteSession {
 public:
  static Result<RouteSession> open(const tap::NetNamespace& where);
  RouteSession(RouteSession&&) noexcept;
  RouteSession& operator=(RouteSession&&) = delete;
  ~RouteSession();

  /// Makes a bridge that sends no frames by itself (no spanning tree, no multicast snooping) and
  /// never forgets an address. On return it is up.
  Result<void> add_bridge(const std::string& name);
  /// Makes an interface, which is up, a port of the bridge with `host` behind it: frames for that
  /// address leave only by this port, and frames for unknown addresses by no port. Blocks: until
  /// the port forwards, at most five seconds.
  Result<void> add_port(const std::string& name, const std::string& bridge, MacAddress host);

  Result<unsigned> index_of(const std::string& name);
  std::optional<InterfaceCounts> counts(unsigned index) noexcept;
  /// A sign that the interface is in use: "has the address 198.18.0.1/24". Empty if there is none.
  /// Link-local IPv6, which the kernel gives every interface, does not count.
  Result<std::string> use_of(const std::string& name);

 private:
  struct Impl;
  explicit RouteSession(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::perf
