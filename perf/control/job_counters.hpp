#pragma once
// What a job has counted of the events that it was asked for. Internal to perf/control.

#include <span>
#include <vector>

#include "perf/result/run_result.hpp"
#include "perf/worker/job_counting.hpp"

namespace shmif::perf {

/// In the order of the option. A value that was not counted is empty and has a reason.
std::vector<CounterResult> counter_results(std::span<const JobEvent> events,
                                           std::span<const CounterBlock> block);

}  // namespace shmif::perf
