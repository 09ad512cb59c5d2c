#pragma once
// RunState: the jobs of a run, and what was made for them. The parts of the controller share it:
// the Starter starts the jobs, the Supervisor ends them, and the Runner watches them meanwhile.
// Internal to perf/control.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/control/controlled_job.hpp"
#include "perf/control/interval_log.hpp"
#include "perf/engine/engine.hpp"
#include "perf/plan/plan.hpp"
#include "perf/watch/cgroup.hpp"
#include "perf/worker/run_memory.hpp"
#include "perf/worker/worker.hpp"

namespace shmif::perf {

struct RunState {
  RunOptions options;
  std::vector<PlannedJob> plan;
  std::vector<ControlledJob> jobs;       ///< indexed like the plan
  std::shared_ptr<MadeCgroups> cgroups;  ///< also those of earlier runs of the campaign
  std::unique_ptr<RunMemory> memory;
  std::vector<std::unique_ptr<Wire>> wires;
  std::vector<WorkerSetup> setups;  ///< indexed like the jobs
  std::unique_ptr<IntervalLogs> logs;
  std::uint64_t interval_ns = 0;  ///< interval of the curves

  bool all_over() const {
    return std::ranges::all_of(jobs, [](const ControlledJob& j) { return j.over(); });
  }
  bool has_jobs_to_start() const {
    using Phase = ControlledJob::Phase;
    return std::ranges::any_of(jobs, [](const ControlledJob& j) {
      return j.phase == Phase::waiting || j.phase == Phase::starting;
    });
  }
};

/// Makes everything that the jobs of the plan need before they exist: logs, shared memory, wires,
/// addresses of hosts. Errors: those of the wires and files.
Result<void> set_up(RunState& run);

/// "1.5 s".
std::string seconds_text(std::chrono::nanoseconds time);

/// Sleeps for a tick, or until a signal comes. A tick is the time between two looks of the
/// controller at its jobs.
void sleep_a_tick();

}  // namespace shmif::perf
