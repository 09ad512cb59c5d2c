#pragma once
// The summary that `shmifctl bridge` prints at its end.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "shmif/faults.hpp"
#include "tap/bridge.hpp"
#include "tap/device_counters.hpp"
#include "tap/line/line.hpp"
#include "tools/common/json.hpp"

namespace shmif::tools {

/// What happened to the frames from one end of a bridge to the other.
struct BridgeWay {
  std::string from, to;  ///< as on the command line
  tap::DirectionCounters counters{};
  /// How many of counters.consumed a filter refused. Empty if there is no filter.
  std::optional<std::uint64_t> filtered = {};
  struct Faults : FaultCounters {
    std::uint64_t under_way = 0;
  };
  bool has_faults = false;
  Faults faults{};  ///< what the source's fault link did to the frames that came
  /// What faults did to the frames that the sink took, if the sink is a line whose host sends them,
  /// and which faults. So many segments more than frames met them.
  bool has_sink_faults = false;
  FaultCounters sink_faults{};
  FaultOptions sink_options{};
  std::uint64_t sink_segments = 0;
  /// Frames that did not pass a line: while that was cut at the source, while it was cut at the
  /// sink, and because the host at the source does not hear their sender.
  std::uint64_t cut_at_source = 0, cut_at_sink = 0, unheard = 0;
  /// If the sink is a fault link for the way back: frames that it took and then could not pass on,
  /// and frames that it has not passed on yet.
  std::uint64_t sink_refused = 0, sink_waiting = 0;
  /// A device also takes frames while it is down or full, and drops them.
  bool has_device = false;
  tap::DeviceCounters sink_device{};

  /// What a line did at the source, or at the sink.
  void add_source(const tap::LineCounters& line, const LineFaults& set);
  void add_sink(const tap::LineCounters& line, const LineFaults& set);
};

/// What happened to the frames between a bus and what is far away, over a line. `frames`: what the
/// bridge counted; to_right: from the bus. Result: from the bus, and to it.
std::pair<BridgeWay, BridgeWay> ways_over(const tap::LineCounters& line, const LineFaults& faults,
                                          const tap::PairCounters& frames, const std::string& bus,
                                          const std::string& far);

/// Adds what another bridge has carried.
void add_counts(tap::PairCounters& to, const tap::PairCounters& more);

/// What became of the frames of one way: counts that follow from several counters.
struct WayFates {
  std::uint64_t came = 0, arrived = 0, refused = 0, filtered = 0, answered = 0, under_way = 0;
  std::uint64_t lost = 0;  ///< in overruns, by faults, and in the full queue of a fault
  /// Of those that arrived. If some frames did not arrive in the end, theirs are not known.
  std::optional<std::uint64_t> segments = {}, bytes = {};
};
WayFates fates_of(const BridgeWay& way);

/// Whether faults are set, or have hit a frame.
bool met_faults(const FaultOptions& options, const FaultCounters& met) noexcept;

/// One line whose sum is right: the frames that were passed on, lost, dropped and answered here add
/// up to the frames that came.
std::string to_text(const BridgeWay& way);

/// A line that says what the faults did, for those at the source and for those at the sink; empty
/// without faults. `options`: the faults that were asked for at the source.
std::string faults_text(const BridgeWay& way, const FaultOptions& options);

/// The same as an object, with each number of the two lines. `options`: as for faults_text(), used
/// if the way has faults.
Json to_json(const BridgeWay& way, const FaultOptions& options = {});

}  // namespace shmif::tools
