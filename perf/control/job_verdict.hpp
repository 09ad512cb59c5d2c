#pragma once
// Whether a job passed.

#include "perf/control/controlled_job.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {

/// Adds the reasons why the job fails, besides those that it gave itself: counts that differ,
/// frames that do not add up, no frame moved; in the measured window none sent, or none received of
/// those that were sent to it. Then sets whether it passed. `has_faults`: the run was asked
/// to lose or delay frames, so losing all of them is no failure.
void judge(const ControlledJob& job, JobResult& result, bool has_faults = false);

}  // namespace shmif::perf
