#pragma once
// The life of a job, in its own thread or process.

#include <cstdint>
#include <span>
#include <vector>

#include "perf/engine/engine.hpp"
#include "perf/plan/plan.hpp"
#include "perf/worker/host.hpp"
#include "perf/worker/job_counting.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

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
