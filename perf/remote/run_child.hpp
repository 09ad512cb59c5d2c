#pragma once
// RunChild: a run in a separate process, so that the server goes on whatever happens to the run.
//
// The server gives orders through shared memory (RunControl). The run answers through a socket, in
// messages of the protocol. If the run's process dies, the kernel kills its jobs. If the server
// dies, the kernel kills the run, and so its jobs.

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/shared_memory.hpp"
#include "perf/control/runner.hpp"
#include "perf/plan/plan.hpp"
#include "perf/remote/connection.hpp"

namespace shmif::perf {

/// What the run reports about itself.
struct RunIdentity {
  std::string version;
  std::vector<std::string> command;
};

/// The parts of a run, or why it is refused.
struct RunPlan {
  RunOptions options;
  std::vector<PlannedJob> jobs;
  std::vector<std::string> problems;  ///< each with advice; empty: the run can begin
};

/// Threads: one at a time. The destructor kills the run.
class RunChild {
 public:
  /// Starts the process, which calls `make_plan` and then runs the plan. So all work for a client
  /// is done in a process that the server can kill. The first jobs wait for go(). Call it while the
  /// calling process has no other threads. Errors: an errno.
  static Result<std::unique_ptr<RunChild>> start(const std::function<RunPlan()>& make_plan,
                                                 const RunIdentity& identity);
  RunChild(const RunChild&) = delete;
  RunChild& operator=(const RunChild&) = delete;
  ~RunChild();

  /// First PreparedMessage when the plan is made (the jobs need not be ready: see ready()), then
  /// ProgressMessage and TriggeredMessage, and at the end StateMessage and FinishedMessage; or
  /// RefusedMessage if there was an error before any job existed.
  Connection& messages() noexcept { return *messages_; }
  /// Whether the first jobs are initialised; and when they started (0: not yet).
  bool ready() const noexcept { return control_->ready.load(); }
  std::uint64_t started_ns() const noexcept { return control_->started_ns.load(); }

  /// Lets the first jobs start, at that time of CLOCK_MONOTONIC.
  void go(std::uint64_t start_ns) noexcept { control_->start_at_ns.store(start_ns); }
  /// Stops the run, which drains and reports. `signal`: the reason; 0: another reason.
  void stop(int signal) noexcept;
  void stop_hard(int signal) noexcept;
  /// Fires the trigger of the run, if it has one, because it fired elsewhere.
  void trigger() noexcept { control_->trigger.store(true); }
  /// See RunControl::note_far_end().
  void sender_ended(const std::string& job, std::uint64_t frames) noexcept {
    control_->note_far_end(job, frames);
  }
  /// Sends SIGKILL to the run; the kernel then kills its jobs.
  void kill() noexcept;

  /// Whether it has ended. Then how() is empty if it ended normally; otherwise it says how: "was
  /// killed by signal 9 (Killed)".
  bool ended();
  const std::string& how() const noexcept { return how_; }

 private:
  explicit RunChild(base::SharedMemory memory);

  base::SharedMemory memory_;
  RunControl* control_;
  std::unique_ptr<Connection> messages_;
  pid_t pid_ = -1;
  bool ended_ = false;
  std::string how_;
};

}  // namespace shmif::perf
