#pragma once
// Whether a job passed.

#include "perf/control/controlled_job.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {

/// Adds the reasons why the job fails, besides those that it gave itself: counts that differ;
/// frames whose fates do not add up; no frame moved; in the measured window, it sent no frame, or
/// received no frame although some were sent to it. Then sets whether it passed. `has_faults`: the
/// run was asked to lose or delay frames, so it is not a failure to lose all of them.
void judge(const ControlledJob& job, JobResult& result, bool has_faults = false);

}  // namespace shmif::perf
