#pragma once
// What `shmifctl bridge` says at its end.

#include <cstdint>
#include <string>

#include "shmif/faults.hpp"
#include "tap/bridge.hpp"
#include "tap/device_counters.hpp"

namespace shmif::tools {

/// What happened to the frames from one end of a bridge to the other.
struct BridgeWay {
  std::string from, to;  ///< as on the command line
  tap::DirectionCounters counters{};
  struct Faults : FaultCounters {
    std::uint64_t under_way = 0;
  };
  bool has_faults = false;
  Faults faults{};  ///< that frames met as they came
  /// Where frames meet faults as they come back: the frames that the link there had taken, and
  /// then could not pass on, or has not yet.
  std::uint64_t sink_refused = 0, sink_waiting = 0;
  tap::DeviceCounters
      sink_device{};  ///< which takes frames and drops them while it is down or full
};

/// One line in which the sum is right: what was passed on, lost, dropped and answered here is what
/// came.
std::string to_text(const BridgeWay& way);

/// A line of what the faults did. `options`: those that were asked for.
std::string faults_text(const BridgeWay& way, const FaultOptions& options);

}  // namespace shmif::tools
