#pragma once
// The access heat of one job during a run.

#include <optional>
#include <string>

#include "instruments/heat/bus_heat.hpp"
#include "instruments/heat/regions.hpp"
#include "instruments/heat/source.hpp"

namespace shmif::perf {

struct HeatOfJob {
  HeatAttributes attributes;
  HeatProvenance provenance;
  /// The watched mapping, "PORT@PATH" of the bus; empty if the job was not watched.
  std::string mapping;
  std::optional<BusHistory> history;  ///< times from the start of the run; empty: not measured
  /// Why the heat was not measured, or not to the end; otherwise empty.
  std::string reason;
};

}  // namespace shmif::perf
