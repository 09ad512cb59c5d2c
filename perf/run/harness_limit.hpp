#pragma once
// What the harness alone can do on this machine, for people to hold a result against.

#include <optional>

#include "perf/job/job_options.hpp"
#include "perf/job/plan.hpp"
#include "perf/run/run_result.hpp"

namespace shmif::perf {

/// Frames per second. `both`: by one job that sends and receives each frame.
struct HarnessLimit {
  std::optional<double> tx_fps, rx_fps, both_fps;
};

/// The rate of a trial of a job that never sleeps. Nothing where it is not known: nothing was sent,
/// or the job had so little of its CPU that neither count nor time says anything. `cpu`: nothing
/// where nobody knows it.
std::optional<double> limit_by(const TrafficResult& sent, const std::optional<CpuResult>& cpu);

/// Short runs of the frames of `job` on engine=null, with the kind of pace that it has. `reached`
/// is what the harness has shown to be able to do: no limit is below it. Nothing where that did not
/// work. Blocks: 200 ms or so, at most a second.
HarnessLimit measure_limit(const JobOptions& job, const HarnessLimit& reached = {});

/// Puts into each result, and into each search, what was measured for such a job: for those whose
/// frames were probes and moved at all. `plan` is what was run.
void add_limits(std::span<const PlannedJob> plan, RunResult& result);

}  // namespace shmif::perf
