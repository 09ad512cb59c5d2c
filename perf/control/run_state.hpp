#pragma once
// ControlledJob: a job as its controller sees it.
// RunState: the jobs of a run, and what was made for them. The parts of the controller share it:
// the Starter starts the jobs, the Supervisor ends them, and the Runner watches them meanwhile.
// Internal to perf/control.

#include <sys/types.h>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/result.hpp"
#include "instruments/watch/clock.hpp"
#include "instruments/watch/process.hpp"
#include "perf/control/interval_log.hpp"
#include "perf/engine/engine.hpp"
#include "perf/plan/plan.hpp"
#include "perf/result/progress.hpp"
#include "perf/worker/run_memory.hpp"
#include "perf/worker/worker.hpp"

namespace shmif::perf {

// JobRunner: one job's thread or process, from its creation to its end.

/// How a job's thread or process ended.
struct JobExit {
  std::optional<int> status;  ///< if it was a process
  std::optional<int> signal;  ///< if a signal ended the process
};

/// Runs a function as a thread or as a process. The process is forked, ignores the terminal's
/// signals, and is killed when the thread that made it ends. Threads: one at a time.
class JobRunner {
 public:
  /// Starts `body`. Its result becomes the exit status of a process. Errors: an errno.
  static Result<std::unique_ptr<JobRunner>> start(bool thread, std::function<int()> body);
  JobRunner(const JobRunner&) = delete;
  JobRunner& operator=(const JobRunner&) = delete;
  /// Kills a process. A thread that has not ended continues.
  ~JobRunner();

  bool is_thread() const noexcept { return pid_ == 0; }
  pid_t pid() const noexcept { return pid_; }  ///< 0 for a thread
  /// The kernel's number of the thread or process; 0 if the thread has not begun.
  pid_t task() const noexcept;
  /// Whether it has ended. Reaps a process that has ended.
  bool ended();
  /// What the last ended() returned.
  bool ended_already() const noexcept { return ended_; }
  const JobExit& exit() const noexcept { return exit_; }
  /// Sends a signal to a process. Does nothing for a thread, or when it has ended.
  void signal(int number) noexcept;
  /// Waits for the end of a process that was killed. Blocks: until the kernel has cleaned it up.
  void wait();

 private:
  JobRunner() = default;
  void take(int status) noexcept;

  struct ThreadState;
  pid_t pid_ = 0;
  bool ended_ = false;
  JobExit exit_;
  std::thread thread_;
  std::shared_ptr<ThreadState> state_;
};

struct ControlledJob {
  enum class Phase : std::uint8_t {
    waiting,   ///< waits until other jobs end
    starting,  ///< ordered to initialise
    going,
    over,
  };
  const PlannedJob& plan;
  JobBlock* block = nullptr;
  FlowBlock* flow = nullptr;              ///< counts of the frames that it sends
  EchoBlock* echo = nullptr;              ///< for a pingpong job
  std::vector<std::size_t> senders = {};  ///< the jobs that send to it
  std::unique_ptr<JobRunner> runner = {};
  Phase phase = Phase::waiting;
  std::vector<std::string> errors = {};
  bool never_started = false;
  bool ended_by_us = false;     ///< killed because it was stuck, or by a hard stop
  std::uint64_t stop_ns = 0;    ///< when it was ordered to stop; 0: not yet
  std::uint64_t done_ns = 0;    ///< when it was first seen to be finishing
  std::uint64_t ended_ns = 0;   ///< when its end was seen; 0: not yet
  std::uint64_t killed_ns = 0;  ///< when it was sent SIGTERM because it was stuck

  std::vector<IntervalResult> intervals = {};
  std::uint64_t intervals_read = 0;
  IntervalResult untold = {};  ///< sum of the intervals that observers have not seen yet

  bool over() const noexcept { return phase == Phase::over; }
  JobState state() const noexcept {
    return over() && !never_started ? JobState::reaped
                                    : block->state.load(std::memory_order_acquire);
  }
  /// When its window begins: it says that it runs a moment earlier, to be awake then.
  std::uint64_t window_begin_ns() const noexcept {
    return block->start_ns.load(std::memory_order_acquire) + ns(plan.options.start_delay) +
           ns(plan.options.ramp_time);
  }
  void fail(std::string why) { errors.push_back(std::move(why)); }
};

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
