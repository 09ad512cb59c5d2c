#pragma once
// ServedRun: the one run of a server, from the client's jobs to the last message. Internal to
// perf/remote.

#include <sys/types.h>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/shared_memory.hpp"
#include "perf/control/runner.hpp"
#include "perf/plan/plan.hpp"
#include "perf/remote/connection.hpp"

namespace shmif::perf {

// RunChild: a run in a separate process, so that the server goes on whatever happens to the run.
//
// The server gives orders through shared memory (RunControl). The run answers through a socket, in
// messages of the protocol. If the run's process dies, the kernel kills its jobs. If the server
// dies, the kernel kills the run, and so its jobs.

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

/// A message for the client.
struct Told {
  std::string json;
  bool progress = false;  ///< may be dropped if the client reads too slowly
};

/// Threads: one at a time. Blocks: never.
class ServedRun {
 public:
  using Clock = std::chrono::steady_clock;

  ServedRun(std::unique_ptr<RunChild> child, std::string client, std::string since,
            std::chrono::nanoseconds max_runtime)
      : child_(std::move(child)),
        client_(std::move(client)),
        since_(std::move(since)),
        max_runtime_(max_runtime) {}

  const std::string& client() const noexcept { return client_; }
  const std::string& since() const noexcept { return since_; }
  int descriptor() noexcept { return child_->messages().descriptor(); }
  /// Whether its first jobs are not ready or not started; look() must then be called often.
  bool is_starting() const noexcept { return !ready_ || (gone_ && !told_start_); }

  /// How many jobs its plan has; 0 until the plan is made, if the jobs were refused, and once that
  /// was told.
  std::uint64_t take_jobs() noexcept { return std::exchange(jobs_to_tell_, 0); }
  /// Why its jobs were refused or could not be planned; otherwise empty.
  const std::string& refusal() const noexcept { return refusal_; }

  void go(std::uint64_t start_ns);
  /// Stops the run; it drains, and the client waits for the result. `why` fails the run; empty: the
  /// client asked for the stop.
  void stop(int signal, const std::string& why, Clock::time_point now);
  /// Stops the run because the server ends: it drains for a moment only.
  void end(int signal, const std::string& why, Clock::time_point now);
  void stop_hard(int signal, Clock::time_point now);
  /// The trigger has fired on another server of the client.
  void trigger() { child_->trigger(); }
  /// The sender of the frames to that job has ended, on another server.
  void sender_ended(const std::string& job, std::uint64_t frames) {
    child_->sender_ended(job, frames);
  }
  /// The client is gone, so the result is not needed.
  void abandon(Clock::time_point now);

  /// Checks its process and deadlines. Result: new messages, in order.
  std::vector<Told> look(Clock::time_point now);
  /// Whether the run is over and all its messages were returned.
  bool over() const noexcept { return over_; }
  bool abandoned() const noexcept { return abandoned_; }
  /// Why it was stopped, if the client did not ask for that. Returns the reason only once.
  std::string take_reason() { return std::exchange(reason_, {}); }
  /// Whether its first jobs have started; true only once.
  bool take_start() noexcept { return told_start_ && !std::exchange(start_taken_, true); }

 private:
  void listen();
  void watch_the_clock(Clock::time_point now);
  void escalate(Clock::time_point now);
  void kill_planner(const std::string& why);
  void tell(const Message& message) { told_.push_back({encode(message)}); }

  std::unique_ptr<RunChild> child_;
  std::string client_;
  std::string since_;
  std::uint64_t jobs_ = 0;
  std::uint64_t jobs_to_tell_ = 0;
  std::chrono::nanoseconds max_runtime_;
  Clock::time_point made_ = Clock::now();
  std::optional<Clock::time_point> ready_;    ///< when its jobs were ready
  std::optional<Clock::time_point> gone_;     ///< when it was ordered to start
  std::optional<Clock::time_point> stopped_;  ///< by the server, which then limits its time
  std::optional<Clock::time_point> hard_at_;  ///< when it will be stopped hard
  std::optional<Clock::time_point> hard_;
  std::vector<Told> told_;
  std::vector<Told> states_;  ///< told with the result, because they may be long
  bool told_start_ = false;
  bool start_taken_ = false;
  std::string last_words_;  ///< result or refusal, kept until its process has ended
  std::string refusal_;
  std::string reason_;
  bool killed_ = false;
  bool abandoned_ = false;
  bool over_ = false;
};

}  // namespace shmif::perf
