#pragma once
// The memory bandwidth during a run.

#include <cstdint>
#include <optional>
#include <string>

#include "instruments/heat/bus_heat.hpp"
#include "instruments/heat/regions.hpp"
#include "instruments/heat/source.hpp"
#include "instruments/membw/measure.hpp"

namespace shmif::perf {

struct MemoryOfRun {
  MembwResult measured;
  std::uint64_t start_ns = 0;  ///< of the run's first jobs, on CLOCK_MONOTONIC; 0: no job began
};

// The access heat of one job during a run.

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
