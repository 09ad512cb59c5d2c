#pragma once
// Results of runs that counted events and measured the memory bandwidth.

#include "perf/result/run_result.hpp"

namespace shmif::test {

/// The first job sent 2,000 frames and received none. It counted events: one for half of the time,
/// and one not at all.
perf::RunResult counted_sample();
/// Two windows of a bus, and a source that is not there. 1,000 frames a second arrive.
perf::RunResult measured_sample();

}  // namespace shmif::test
