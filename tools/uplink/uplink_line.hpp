#pragma once
// HomeTable: which hosts are on this machine's bus, so that frames between them need not leave it.
//
// The port of an uplink receives every frame of its bus, because a host with any address may be on
// another machine. Most frames are for hosts of the same bus. A learning bridge would drop them;
// this table does it before they cost a system call.
//
// A kernel bridge behind the uplink forgets a host from which it hears nothing for five minutes. So
// one frame of each host passes now and then even if it is for a host of this bus. The bridge knows
// that one, too, and drops the frame.

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/bus.hpp"
#include "shmif/faults.hpp"
#include "shmif/frame.hpp"
#include "shmif/link.hpp"
#include "shmif/mac.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/line/line.hpp"
#include "tools/relay/bridge_summary.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/interceptors.hpp"
#include "tools/relay/line_control.hpp"
#include "tools/relay/watches.hpp"

namespace shmif::tools {

/// Threads: one at a time. Blocks: never.
class HomeTable {
 public:
  using Clock = std::chrono::steady_clock;
  /// A host that was silent for longer may be anywhere, as in the kernel's bridges.
  static constexpr std::chrono::seconds kMemory{300};
  /// How often a frame of a host passes, if a bridge behind the uplink must hear of it.
  static constexpr std::chrono::seconds kRemind{100};

  /// What is behind the uplink.
  enum class Behind : std::uint8_t {
    bridge,  ///< a kernel bridge, which must hear of each host
    line,    ///< a line to another machine
  };

  explicit HomeTable(Behind behind);

  /// Notes the sender of a frame from the bus. Result: whether the frame stays on the bus, because
  /// its receiver is there. `now` never goes back.
  bool stays(const FrameView& frame, Clock::time_point now);
  /// Notes the sender of a frame from the other machines.
  void came_from_afar(const FrameView& frame, Clock::time_point now);

 private:
  struct Host {
    std::uint64_t mac = 0;  ///< 0: no host
    Clock::time_point seen = {};
    Clock::time_point passed = {};  ///< when a frame from it last passed the uplink
    bool is_home = false;
    bool has_passed = false;
  };
  Host& place_of(std::uint64_t mac);
  Host& note(MacAddress mac, bool is_home, Clock::time_point now);

  Behind behind_;
  std::vector<Host> hosts_;  ///< of two hosts with one place, the last one has it
};

// UplinkPort: the port of an uplink on its bus, which sorts the frames that leave the bus, and what
// others may change on the way while the uplink runs: faults, a link that goes down, partitions.
//
//   bus -- port -- which frames leave the bus? -- faults -- the line to the other machines
//
// Frames that stay on the bus meet no faults, and draw no random number. So a fault such as
// `drop=57` counts only frames between the machines.

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

// UplinkLine: carries frames between a port on a bus and whatever leads to other machines.
//
// A second uplink between the same buses is a loop, in which each broadcast goes round forever and
// fills the network between the machines. The line finds that out by a probe (LoopGuard), and says
// so. It waits for a random time of at most 1.5 s, because the other uplink has found it out, too,
// and looks again. If the loop is still there, it ends.

/// A descriptor to watch while the line carries frames: `on_ready` returns false to end that.
struct UplinkWatch {
  int descriptor;
  std::function<bool()> on_ready;
};

/// Why a line ended.
struct UplinkEnd {
  enum class Why : std::uint8_t {
    asked,      ///< by the stop descriptor or a watch
    far_ended,  ///< the other side's link will carry no more frames
    bus_ended,  ///< the bus is useless, or its file was removed
    loop,       ///< frames went round
  };
  Why why = Why::asked;
  std::string text = {};    ///< what to tell people; empty if the line was asked to end
  bool is_orderly = false;  ///< the other side has closed its link, and did nothing wrong
};

/// Threads: one at a time.
class UplinkLine {
 public:
  /// `port` and `far` must outlive this. `bus_text`, `far_text`: for messages, "bus:/tmp/b0".
  /// `far_drops`: what `far` itself has dropped so far.
  UplinkLine(UplinkPort& port, AnyLink& far, std::string bus_text, std::string far_text,
             std::function<UplinkDrops()> far_drops);

  /// Brings the port up, carries frames, and brings it down. Throws if there is no descriptor left,
  /// or the port cannot be brought up. Blocks: until the end.
  UplinkEnd carry(int stop_descriptor, const std::vector<UplinkWatch>& watches);
  /// What it carried; to_right: to the other machines.
  const tap::PairCounters& counts() const noexcept { return counts_; }

 private:
  tap::BridgeOptions bridge_options();
  void join(tap::Bridge& bridge, const std::vector<UplinkWatch>& watches);
  void met_loop();
  bool look_at_loop();
  bool bus_is_there();
  void show_drops();
  void show_drops_if_due();
  UplinkEnd end_of(const tap::BridgeEnd& end) const;

  UplinkPort& port_;
  AnyLink& far_;
  std::string bus_text_, far_text_;
  std::function<UplinkDrops()> far_drops_;
  std::chrono::steady_clock::time_point shown_{};  ///< when drops were last shown
  TooLongNotice too_long_;
  BusWatch buses_;
  LoopGuard guard_;
  UniqueFd loop_timer_;
  enum class Loop : std::uint8_t { none, seen, proven };
  Loop loop_ = Loop::none;
  bool bus_removed_ = false;
  bool far_trouble_ = false;       ///< an error of the far link, reported once before it ends
  tap::Bridge* bridge_ = nullptr;  ///< while carry() runs
  tap::PairCounters counts_;
};

}  // namespace shmif::tools
