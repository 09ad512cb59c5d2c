#pragma once
// How the jobs of a run begin and end. Internal to perf/control.
//
// Supervisor: finds out how jobs ended, decides which others must end then, and ends jobs that do
// not end by themselves.
//
// Starter: creates the jobs, and starts them in batches. Jobs that wait for the same others begin
// together.

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/control/run_state.hpp"
#include "perf/control/runner.hpp"

namespace shmif::perf {

/// Threads: one at a time.
class Supervisor {
 public:
  explicit Supervisor(RunState& run) : run_(run) {}

  /// Takes note of the jobs that have ended.
  void reap();
  /// Handles the end of a job that did not end by itself.
  void gone(std::size_t i);
  /// Lets a job end: it sends no more, receives the frames that are on their way, and finishes.
  void stop(std::size_t i);
  void stop_all();
  /// Orders all jobs to end at once. Jobs that have not ended after a second are killed.
  void stop_hard();
  /// Kills jobs that did not end.
  void check_stuck(std::uint64_t now);
  /// Threads that could not start, or were stuck, may still end. Until then they use the memory of
  /// the run. Blocks: for a second at most.
  void leave_threads();

  bool stopping() const noexcept { return stopping_; }
  bool stuck_thread() const noexcept { return stuck_thread_; }

 private:
  void finish(std::size_t i);
  /// The jobs that sent to this job need not wait until it has received everything. The jobs that
  /// answered it need not wait, either.
  void nobody_listens_to(std::size_t i);
  void after_the_end_of(std::size_t i);
  void end_background_jobs();
  void set_done_ns(std::size_t i, std::uint64_t now);
  std::uint64_t drain_of(std::size_t i) const;
  std::uint64_t latest_end_ns(std::size_t i) const;

  RunState& run_;
  bool stopping_ = false;
  bool hard_ = false;
  std::uint64_t hard_ns_ = 0;
  bool stuck_thread_ = false;
};

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
