#pragma once
// Runner: one run of a set of jobs, from their creation to what they found out.
//
//   not created -> created -> initialised -> ramp -> running -> draining -> verifying -> finishing
//                     |            |                                                        |
//               order: initialise  order: go, at one time for all of a batch             exited
//
// A batch is the jobs that wait for nobody who has not ended: all that begin the run, or all that
// waited for the same one. Nothing is opened, filled or pinned after `go`. The controller looks at
// its jobs every few milliseconds; it is in nobody's way, for jobs only read their orders and write
// their counts (perf/run/run_memory.hpp).
//
// When a process dies: of a job, its counts are in the shared memory; the run goes on and fails,
// and who waits for its frames learns that no more will come. Of the controller, the kernel kills
// every job with it.

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "bus/result.hpp"
#include "perf/job/job_options.hpp"
#include "perf/job/plan.hpp"
#include "perf/run/progress.hpp"
#include "perf/run/run_result.hpp"

namespace shmif::perf {

/// What a run is told from outside, by signal handlers or other threads.
struct RunControl {
  std::atomic<int> signal{0};       ///< the first one that asked to stop
  std::atomic<int> stops{0};        ///< how many did: the second stops hard
  std::atomic<bool> status{false};  ///< print the status now

  /// For a start together with runs elsewhere: the first jobs wait, initialised, while this is
  /// kHeld, and then begin no sooner than at this time of CLOCK_MONOTONIC.
  static constexpr std::uint64_t kHeld = ~std::uint64_t{0};
  std::atomic<std::uint64_t> start_at_ns{0};
  // Told by the run.
  std::atomic<bool> ready{false};  ///< the first jobs are initialised
  std::atomic<std::uint64_t> started_ns{
      0};  ///< when the first jobs of all runs began, or will; 0: not yet
};

/// Threads: one at a time; RunControl from any. A thread job that is stuck for good outlives this:
/// see stuck().
class Runner {
 public:
  /// Makes the wires and the processes. Call while the process has no other threads, as far as that
  /// can be. Errors: those of the media; the message names the job.
  static Result<std::unique_ptr<Runner>> create(const RunOptions& options,
                                                std::vector<PlannedJob> plan);
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  ~Runner();

  /// Runs to the end, whatever happens: what the jobs found out, those that failed too.
  RunResult run(RunObserver* observer, RunControl& control);
  /// Whether a thread of a job could not be ended: then the process must, by _exit.
  bool stuck() const noexcept;

 private:
  struct Impl;
  explicit Runner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::perf
