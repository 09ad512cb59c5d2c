#pragma once
// What a bridge watches beside the frames: whether its bus still has its name (BusWatch), the
// device behind a port (DeviceWatch), and whether another host has its addresses (AddressWatch).
// And how a command sleeps until a link has frames or the program must stop.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/link.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/cidr.hpp"
#include "tap/guest/neighbours.hpp"
#include "tap/guest/watch.hpp"
#include "tap/netlink.hpp"
#include "tap/netns.hpp"
#include "tap/upkeep.hpp"
#include "tools/common/signals.hpp"

namespace shmif::tools {

/// Sleeps until `descriptor` is readable, a stopping signal comes, the reader of `output` is gone,
/// or `at_most` has passed. It ignores a descriptor of -1.
void await_descriptor(int descriptor, const StopSignals& stop, std::chrono::nanoseconds at_most,
                      int output = -1);

/// Whether `output` is a pipe whose reader is gone, so that further output would be lost.
bool is_abandoned(int output);

/// For commands that listen on a bus. Reports once that a bus is corrupt, or that somebody keeps
/// its lock. The command then waits, because `repair` mends the bus while ports stay attached.
class Corruption {
 public:
  explicit Corruption(std::string path) : path_(std::move(path)) {}

  /// Call it after each receive. Result: whether the bus is unusable now. If it is, this call has
  /// slept a while, or until a stopping signal came.
  bool met(const std::error_code& error, const StopSignals& stop);
  bool lasts() const noexcept { return lasts_; }

 private:
  std::string path_;
  bool lasts_ = false;
};

/// Sleeps until `link` has something to receive, a stopping signal comes, the reader of `output` is
/// gone, or `at_most` has passed. Threads: the link's receiving thread.
template <Link L>
void await(L& link, const StopSignals& stop, std::chrono::nanoseconds at_most, int output = -1) {
  const WaitHint hint = link.prepare_wait();
  if (!hint.ready) {
    const int descriptor = link.descriptor();
    // Without a descriptor, only time can wake this thread.
    constexpr std::chrono::nanoseconds kBlind = std::chrono::milliseconds(2);
    const auto longest = descriptor < 0 ? std::min(kBlind, hint.at_most) : hint.at_most;
    await_descriptor(descriptor, stop, std::min(at_most, longest), output);
  }
  link.finish_wait();
}

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

// AddressWatch: claims the addresses of a host on its buses. If another host has one of them, it
// reports that, and tells the other host, which then reports it, too. It announces the other
// addresses to the neighbours.

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
