#pragma once
// BusWatch: reports once that a bus file has lost its name, or that another bus took the name.
// Attached ports go on, but new ports cannot reach them.

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"

namespace shmif::tools {

/// Threads: one at a time. Blocks: never for a peer.
class BusWatch {
 public:
  using Clock = std::chrono::steady_clock;

  /// Throws if the kernel provides no timer.
  BusWatch();
  /// Watches the bus of this port, which must outlive the watch. Does nothing while the port is
  /// down.
  void add(const Port& port);
  /// Checks the buses now and then while the bridge runs; the bridge must not outlive this. After
  /// each check it calls `also`, if set; if that returns false, the bridge stops. The first check
  /// comes after a second. The interval then doubles, up to 16 seconds, so that fifty idle hosts do
  /// not wake a machine fifty times a second. While a bus has lost its name, it checks every
  /// second.
  Result<void> join(tap::Bridge& bridge, std::function<bool()> also = {});
  /// Checks after a second, and then at growing intervals again.
  void look_soon();
  /// For loops without a bridge: checks if it is time. Result: how long until the next check.
  std::chrono::nanoseconds look_if_due(Clock::time_point now = Clock::now());

 private:
  static constexpr std::chrono::seconds kFirst{1};
  enum class Said { nothing, removed, replaced };
  struct Watched {
    const Port* port;
    Said said;
  };
  static void look(Watched& watched);
  void look_at_all();
  bool set_timer() const;

  UniqueFd timer_;
  unsigned seconds_;  ///< until the next check
  Clock::time_point due_ = Clock::now() + kFirst;
  std::vector<Watched> all_;
};

/// Brings a port up. Throws if that fails. `bus`: for the message, "bus /tmp/b0".
void bring_up(Port& port, const std::string& bus);
/// The same; the destructor brings it down.
class PortUp {
 public:
  PortUp(Port& port, const std::string& bus) : port_(port) { bring_up(port, bus); }
  PortUp(const PortUp&) = delete;
  PortUp& operator=(const PortUp&) = delete;
  ~PortUp() { static_cast<void>(port_.down()); }

 private:
  Port& port_;
};

/// Reports that the bus at `path` has an error; without an error, reports that it works again.
/// While there is an error, the host behind the device has no carrier. `device`: our end, as for
/// tap::set_carrier(). `kind`: kind of the device. Links of other kinds have no carrier and are not
/// changed.
void follow_bus(const std::string& path, int device, LinkKind kind, std::error_code error);

/// Warns if processes of this machine still use a bus that was at `path` and was removed: they
/// cannot reach ports that attach to the new bus. It sees only processes whose memory maps it may
/// read.
void warn_of_hosts_left_behind(const std::string& path);

}  // namespace shmif::tools
