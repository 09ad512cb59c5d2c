#pragma once
// The highest rate of the harness itself on this machine, to compare a result with.

#include <optional>

#include "perf/job/job_options.hpp"
#include "perf/plan/plan.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {

/// Frames per second. `both`: one job sends and receives each frame.
struct HarnessLimit {
  std::optional<double> tx_fps, rx_fps, both_fps;
};

/// The rate of a trial of a job that never sleeps. Result: empty if the rate is unknown, because
/// the job sent no frame, or had its CPU for too short a time. `cpu`: empty if unknown.
std::optional<double> limit_by(const TrafficResult& sent, const std::optional<CpuResult>& cpu);

/// The sender of measure_limit(): its frames are made, paced and checked like those of `job`, as
/// fast as one thread can.
JobOptions limit_job(const JobOptions& job);

/// Makes short runs on engine=null, with frames like those of `job` and the same kind of pace.
/// `reached`: rates that the harness has already shown; no measured limit is below them. Result:
/// empty fields if the runs failed. Blocks: about 200 ms, at most a second.
HarnessLimit measure_limit(const JobOptions& job, const HarnessLimit& reached = {});

/// Adds the measured limit to each result and each search of `result` whose frames were probes and
/// were sent or received. A job that kept a pace above what the trials reached gets no limit.
/// `plan`: the plan that was run.
void add_limits(std::span<const PlannedJob> plan, RunResult& result);

}  // namespace shmif::perf
