#pragma once
// The memory bandwidth during a run.

#include <cstdint>

#include "instruments/membw/measure.hpp"

namespace shmif::perf {

struct MemoryOfRun {
  MembwResult measured;
  std::uint64_t start_ns = 0;  ///< of the run's first jobs, on CLOCK_MONOTONIC; 0: no job began
};

}  // namespace shmif::perf
