#pragma once
// Results of runs that counted events, measured the memory bandwidth and watched the heat.

#include "perf/result/run_result.hpp"

namespace shmif::test {

/// The first job sent 2,000 frames and received none. It counted events: one for half of the time,
/// and one not at all.
perf::RunResult counted_sample();
/// Two windows of a bus, and a source that is not there. 1,000 frames a second arrive.
perf::RunResult measured_sample();
/// The sender used and wrote a fourth of a ring of 1 MiB up to second 2, and all of it later, until
/// second 4; after that it was not looked at. Of the receiver, only the reason is known.
perf::RunResult heated_sample();

}  // namespace shmif::test
