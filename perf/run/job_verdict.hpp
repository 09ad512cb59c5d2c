#pragma once
// Whether a job passed.

#include "perf/run/controlled_job.hpp"
#include "perf/run/run_result.hpp"

namespace shmif::perf {

/// Adds to `result` what makes the job fail besides what it has said itself: counts that differ,
/// frames that do not add up, nothing moved. Then says whether it passed.
void judge(const ControlledJob& job, JobResult& result);

}  // namespace shmif::perf
