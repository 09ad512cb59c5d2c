#pragma once
// UplinkLine: carries frames between a port on a bus and whatever leads to other machines.
//
// A second uplink between the same buses is a loop, in which each broadcast goes round forever and
// fills the network between the machines. The line finds that out by a probe (LoopGuard), and says
// so. It waits for a random time of at most 1.5 s, because the other uplink has found it out, too,
// and looks again. If the loop is still there, it ends.

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/link.hpp"
#include "tap/bridge.hpp"
#include "tools/relay/bus_watch.hpp"
#include "tools/relay/device_watch.hpp"
#include "tools/relay/loop_guard.hpp"
#include "tools/uplink/uplink_port.hpp"

namespace shmif::tools {

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
