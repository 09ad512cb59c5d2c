#pragma once
// Starter: creates the jobs of a run, and starts them in batches. Jobs that wait for the same
// others begin together. Internal to perf/control.

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/control/run_state.hpp"
#include "perf/control/runner.hpp"
#include "perf/control/supervisor.hpp"

namespace shmif::perf {

/// Threads: one at a time.
class Starter {
 public:
  Starter(RunState& run, Supervisor& supervisor) : run_(run), supervisor_(supervisor) {}

  /// Creates all jobs that are processes. Call it before any thread exists, because a fork copies
  /// no threads.
  void create_processes();
  /// Orders jobs to initialise when they no longer wait for others, and starts the batches that are
  /// ready. Call it every tick.
  void step(RunControl& control);
  /// When the first jobs began; 0 if no job has begun.
  std::uint64_t first_start_ns() const noexcept { return first_start_ns_; }

 private:
  struct Batch {
    std::vector<std::size_t> jobs;
    std::uint64_t progress_ns;  // when the batch was ordered, or its last job became ready
    std::size_t ready = 0;
  };
  Result<void> create_job(std::size_t i);
  void order_batch(const std::vector<std::size_t>& ready);
  /// Checks whether all jobs are ready, and which jobs will never be.
  void advance(Batch& batch, RunControl& control);
  /// Sets one start time for all jobs of the batch.
  void begin(Batch& batch, RunControl& control);
  void fail_start(std::size_t i, const std::string& why);

  RunState& run_;
  Supervisor& supervisor_;
  std::vector<Batch> starting_;
  std::uint64_t first_start_ns_ = 0;
};

}  // namespace shmif::perf
