#pragma once
// UplinkPort: the port of an uplink on its bus, which sorts the frames that leave the bus, and what
// others may change on the way while the uplink runs: faults, a link that goes down, partitions.
//
//   bus -- port -- which frames leave the bus? -- faults -- the line to the other machines
//
// Frames that stay on the bus meet no faults, and draw no random number. So a fault such as
// `drop=57` counts only frames between the machines.

#include <cstdint>
#include <string>
#include <utility>

#include "shmif/bus.hpp"
#include "shmif/faults.hpp"
#include "shmif/link.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/line/line.hpp"
#include "tools/relay/bridge_summary.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/line_control.hpp"
#include "tools/uplink/home_table.hpp"

namespace shmif::tools {

/// The bus of an uplink, which --create may have made. Declare it before the port (NewBus says
/// why). Threads: one at a time.
class UplinkBus {
 public:
  /// Opens the bus, or makes it, as provide_bus() does. Throws what that refuses.
  UplinkBus(const std::string& path, const BusWish& wish)
      : bus_(provide_bus(path, wish, made_).value()) {}

  const Bus& bus() const noexcept { return bus_; }
  /// The uplink has started: a bus that was made stays.
  void keep() noexcept { made_.keep(); }

 private:
  NewBus made_;
  Bus bus_;
};

/// Frames that an uplink dropped.
struct UplinkDrops {
  std::uint64_t there = 0;  ///< on the way to the other machines
  std::uint64_t back = 0;   ///< on the way from there

  UplinkDrops operator+(const UplinkDrops& more) const noexcept {
    return {there + more.there, back + more.back};
  }
};

struct UplinkPortOptions {
  std::string name;  ///< empty for "uplink", or for the next free name if that is taken
  HomeTable::Behind behind = HomeTable::Behind::line;
  bool take_offloads = false;
  bool lock_memory = false;
  LineFaults faults = {};
};

/// Threads: one at a time.
class UplinkPort {
 public:
  /// Attaches a port that hears all frames. It is down. Throws what attaching throws. Blocks: up to
  /// kNamePatience for a name that was asked for.
  UplinkPort(const Bus& bus, const UplinkPortOptions& options);
  UplinkPort(const UplinkPort&) = delete;
  UplinkPort& operator=(const UplinkPort&) = delete;

  Port& port() noexcept { return line_.port(); }
  const Port& port() const noexcept { return line_.port(); }
  /// For a bridge.
  AnyLink& link() noexcept { return line_.link(); }
  LineControl& control() noexcept { return control_; }
  /// Whether a frame from the other machines must not reach the bus. Notes its sender if it may.
  bool refuses_from_afar(const FrameView& frame);
  /// To call now and then.
  void settle() { line_.settle(); }
  /// Loses the frames that wait for a delay: the line to the other machine was cut, and the port is
  /// down.
  void lose_what_waits();

  /// Shows in `stat` how many frames the present line has dropped, and all lines before it.
  /// Result: whether that differs from the last call.
  bool show_drops(const UplinkDrops& drops);
  /// The line has ended. Its drops are among those before, from now on.
  void end_line() { drops_before_ = drops_; }

  /// How many frames stayed on the bus, because their receiver is there.
  std::uint64_t stayed() const noexcept { return stayed_; }
  const LineFaults& faults() const noexcept { return line_.faults(); }
  /// What became of the frames to the other machines, and of those from there. `frames`: what the
  /// bridges counted that carried them; to_right: to the other machines.
  std::pair<BridgeWay, BridgeWay> ways(const tap::PairCounters& frames, const std::string& bus,
                                       const std::string& far) const;

 private:
  bool stays(const FrameView& frame);
  LineCounts counts_behind_line() const noexcept;

  tap::Line line_;
  LineControl control_;
  HomeTable home_;
  UplinkDrops drops_, drops_before_;
  std::uint64_t stayed_ = 0;
  std::uint64_t cut_back_ = 0;  ///< frames from afar that came while the link was down
};

}  // namespace shmif::tools
