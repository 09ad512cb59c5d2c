#pragma once
// The summary that `shmifctl bridge` prints at its end.

#include <cstdint>
#include <optional>
#include <string>

#include "shmif/faults.hpp"
#include "tap/bridge.hpp"
#include "tap/device_counters.hpp"
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
  /// If the sink is a fault link for the way back: frames that it took and then could not pass on,
  /// and frames that it has not passed on yet.
  std::uint64_t sink_refused = 0, sink_waiting = 0;
  /// A device also takes frames while it is down or full, and drops them.
  bool has_device = false;
  tap::DeviceCounters sink_device{};
};

/// One line whose sum is right: the frames that were passed on, lost, dropped and answered here add
/// up to the frames that came.
std::string to_text(const BridgeWay& way);

/// A line that says what the faults did. `options`: the faults that were asked for.
std::string faults_text(const BridgeWay& way, const FaultOptions& options);

/// The same as an object, with each number of the two lines. `options`: as for faults_text(), used
/// if the way has faults.
Json to_json(const BridgeWay& way, const FaultOptions& options = {});

}  // namespace shmif::tools
