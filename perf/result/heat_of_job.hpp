#pragma once
// The access heat of one job during a run.

#include <optional>
#include <string>

#include "perf/heat/attributes.hpp"
#include "perf/heat/bus_history.hpp"
#include "perf/heat/source.hpp"

namespace shmif::perf {

struct HeatOfJob {
  HeatAttributes attributes;
  HeatProvenance provenance;
  /// What was watched: "PORT@PATH" of the bus; empty: nothing.
  std::string mapping;
  std::optional<BusHistory> history;  ///< times from the start of the run; empty: not measured
  /// Why it was not measured, or not to the end; empty: none.
  std::string reason;
};

}  // namespace shmif::perf
