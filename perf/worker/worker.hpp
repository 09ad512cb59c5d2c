#pragma once
// The life of a job, in its own thread or process.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/engine/engine.hpp"
#include "perf/plan/plan.hpp"
#include "perf/worker/host.hpp"
#include "perf/worker/job_counting.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

// A command that a run executes: exec_prerun, exec_postrun or the trigger's command.

/// Runs a program to its end, without a shell. Its standard input is /dev/null. Its output goes to
/// the file `output`, which is created or replaced. If `output` is empty, it goes to our own
/// output. Blocks: until the program has ended. The call asks `ended_early()` every 20 ms; if that
/// returns true, it kills the program and all that the program started. Errors: the program could
/// not be started, ended with a status other than 0 or by a signal, or was killed.
Result<void> run_command(const std::vector<std::string>& argv, const std::string& output,
                         const std::function<bool()>& ended_early);

/// What the controller has made for one job.
struct WorkerSetup {
  std::size_t index = 0;  ///< index of the job
  Wire* wire = nullptr;   ///< for engine=host: the bus
  EndOptions end;
  HostSetup host;           ///< for engine=host
  std::uint32_t nonce = 0;  ///< nonce of the run
  std::uint64_t interval_ns = 0;
  std::vector<JobEvent> counters;  ///< events to count
  std::uint64_t counter_interval_ns = 0;
};

/// What a worker sees of the run. All of it outlives the worker.
struct WorkerContext {
  std::span<const PlannedJob> plan;
  std::span<const WorkerSetup> setups;
  const RunOptions& run;
  RunMemory& memory;
};

/// Runs job number `index`: waits for orders, initialises, runs, drains, finishes. Result: the exit
/// status of a process; everything else is in the memory. Throws nothing. Blocks: until the job has
/// ended.
int run_worker(const WorkerContext& context, std::size_t index) noexcept;

/// A number that distinguishes the frames of this run from those of others.
std::uint32_t make_nonce();

}  // namespace shmif::perf
