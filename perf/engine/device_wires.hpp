#pragma once
// Shared by the engines tap and packet: the quiet namespace that a run makes for itself, and
// interfaces that a job names. Internal to perf/engine.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "perf/engine/engine.hpp"
#include "shmif/link.hpp"
#include "shmif/mac.hpp"
#include "tap/device_counters.hpp"
#include "tap/netns.hpp"

namespace shmif::perf {

// RouteSession: what the engines tap and packet need from a network namespace, beyond
// tap/netlink.hpp: a bridge, its ports, counters of interfaces, and whether an interface is in use.

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

/// The bridge that connects the devices of a wire with more than two ends, in its own namespace.
inline constexpr const char* kBridge = "br0";

/// The MTU of the devices that are made for a wire: the job's plus two tags, so that its frames may
/// be as long as on a bus.
std::uint32_t device_mtu(const JobOptions& job) noexcept;

/// Refuses frames that the link would accept but could not pass on, as a TAP device does with long
/// frames.
template <Link L>
class CappedLink {
 public:
  CappedLink(L link, std::size_t largest) : link_(std::move(link)), largest_(largest) {}

  SendResult send(std::span<const FrameView> frames) noexcept {
    std::size_t good = 0;
    while (good < frames.size() && frames[good].size() <= largest_) ++good;
    SendResult result = link_.send(frames.first(good));
    if (!result.error && result.taken == good && good < frames.size()) {
      result.error = Errc::frame_too_long;
    }
    return result;
  }
  ReceiveResult receive(FrameBatch& into) noexcept { return link_.receive(into); }
  int descriptor() noexcept { return link_.descriptor(); }
  WaitHint prepare_wait() noexcept { return link_.prepare_wait(); }
  void finish_wait() noexcept { link_.finish_wait(); }
  std::size_t max_frame_bytes() noexcept { return std::min(largest_, link_.max_frame_bytes()); }
  std::string address() { return link_.address(); }
  const L& link() const noexcept { return link_; }

 private:
  L link_;
  std::size_t largest_;
};

/// Makes a network namespace in which only the run sends: IPv6 is off. The namespace ends with its
/// last descriptor. Errors: not_supported, with the reason.
Result<tap::NetNamespace> make_quiet_namespace();

/// The interfaces that a job names (`netdev`, separated by commas, one for each end), and the
/// namespace where they are.
struct NamedInterfaces {
  tap::NetNamespace where;
  std::vector<std::string> names;
};
/// Errors: bad_argument if there are fewer names than ends; ENODEV; busy if an interface is in use
/// and the job does not allow that.
Result<NamedInterfaces> find_interfaces(const JobOptions& job, std::size_t ends);

/// Opens an end on the interface `name` in `where`.
using OpenNamed = Result<std::unique_ptr<End>> (*)(const std::string& name,
                                                   const tap::NetNamespace& where,
                                                   const EndOptions& options);
/// A wire of existing interfaces, one for each end. It includes whatever is connected to them.
std::unique_ptr<Wire> make_named_wire(EngineKind kind, NamedInterfaces interfaces, OpenNamed open);

/// The counts of a device link.
WireCounters from_link(const tap::DeviceCounters& counts) noexcept;

/// The kernel's counts of an interface from now on. Copies of this object count from the same
/// moment.
class CountsSince {
 public:
  CountsSince(std::shared_ptr<RouteSession> session, unsigned index)
      : session_(std::move(session)), index_(index), before_(session_->counts(index)) {}
  std::optional<InterfaceCounts> operator()() const noexcept;

 private:
  std::shared_ptr<RouteSession> session_;
  unsigned index_;
  std::optional<InterfaceCounts> before_;
};

}  // namespace shmif::perf
