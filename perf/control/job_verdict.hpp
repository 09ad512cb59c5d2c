#pragma once
// Whether a job passed.

#include "perf/control/controlled_job.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {

/// Adds the reasons why the job fails, besides those that it gave itself: counts that differ,
/// frames that do not add up, no frame moved, or none sent in the measured window. Then sets
/// whether it passed.
void judge(const ControlledJob& job, JobResult& result);

}  // namespace shmif::perf
