#pragma once
// Runner: one run of a set of jobs, from their creation to the result.
//
//   not created -> created -> initialised -> ramp -> running -> draining -> verifying -> finishing
//                     |            |                                                        |
//               order: initialise  order: go, at one time for all of a batch             exited
//
// A batch consists of the jobs that wait for no job that has not ended: all that begin the run, or
// all that waited for the same job. Nothing is opened, filled or pinned after `go`. The controller
// looks at its jobs every few milliseconds. It does not disturb them: jobs only read their orders
// and write their counts (perf/worker/run_memory.hpp).
//
// When a process dies: if it is a job, its counts are in the shared memory. The run goes on and
// fails, and the jobs that wait for its frames learn that no more will come. If it is the
// controller, the kernel kills every job.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "perf/job/job_options.hpp"
#include "perf/plan/plan.hpp"
#include "perf/result/progress.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {

class MadeCgroups;

/// What signal handlers or other threads tell a run.
struct RunControl {
  std::atomic<int> signal{0};       ///< the first signal that asked to stop
  std::atomic<int> stops{0};        ///< how many signals asked to stop: the second one stops hard
  std::atomic<bool> status{false};  ///< print the status now

  /// To start together with runs elsewhere: while this is kHeld, the first jobs wait, initialised.
  /// They then start at this time of CLOCK_MONOTONIC or later.
  static constexpr std::uint64_t kHeld = ~std::uint64_t{0};
  std::atomic<std::uint64_t> start_at_ns{0};
  /// Set when the same trigger has fired on another server. Then it must fire here, too.
  std::atomic<bool> trigger{false};
  /// Jobs here whose senders, on other servers, have ended, and how many frames these have sent.
  struct FarEnd {
    std::array<char, 257> job{};
    std::uint64_t frames = 0;
  };
  std::array<FarEnd, 64> far_ends{};
  std::atomic<std::size_t> far_end_count{0};  ///< release: as many are written
  /// Adds one. If there is no room, the job listens for its whole time. Threads: one at a time.
  void note_far_end(std::string_view job, std::uint64_t frames) noexcept {
    const std::size_t count = far_end_count.load(std::memory_order_relaxed);
    if (count == far_ends.size() || job.size() >= far_ends[count].job.size()) return;
    job.copy(far_ends[count].job.data(), job.size());
    far_ends[count].frames = frames;
    far_end_count.store(count + 1, std::memory_order_release);
  }
  // Written by the run.
  std::atomic<bool> ready{false};  ///< the first jobs are initialised
  /// Start of the first jobs of all runs, past or future; 0: not known yet
  std::atomic<std::uint64_t> started_ns{0};
};

/// Threads: one at a time; any thread may use RunControl. A thread job that is stuck forever
/// outlives this object: see stuck().
class Runner {
 public:
  /// Makes the wires and the processes. Call it while the process has no other threads, if
  /// possible. `groups`: the cgroups that earlier runs have made and left; this run adds its own;
  /// null if there are none. Errors: those of the media; the message names the job.
  static Result<std::unique_ptr<Runner>> create(const RunOptions& options,
                                                std::vector<PlannedJob> plan,
                                                std::shared_ptr<MadeCgroups> groups = nullptr);
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  ~Runner();

  /// Runs to the end, even if jobs fail. Result: what the jobs found out, including failed jobs.
  RunResult run(RunObserver* observer, RunControl& control);
  /// Whether a thread of a job could not be ended. The process must then end by _exit.
  bool stuck() const noexcept;

 private:
  struct Impl;
  explicit Runner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::perf
