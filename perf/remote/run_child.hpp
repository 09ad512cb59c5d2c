#pragma once
// RunChild: a run in a process of its own, so that whatever happens to it, the server goes on.
//
// The server tells it what to do through shared memory (RunControl); it tells the server what it
// finds through a socket, in messages of the protocol. When a process dies: of the run, the kernel
// kills its jobs; of the server, the kernel kills the run, and so the jobs.

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "bus/result.hpp"
#include "perf/job/plan.hpp"
#include "perf/remote/connection.hpp"
#include "perf/run/runner.hpp"

namespace shmif::perf {

/// What the run reports about itself.
struct RunIdentity {
  std::string version;
  std::vector<std::string> command;
};

/// Threads: one at a time. The destructor kills the run.
class RunChild {
 public:
  /// Starts the run; its first jobs wait for go(). Call while the process has no other threads.
  /// Errors: the system's.
  static Result<std::unique_ptr<RunChild>> start(const RunOptions& options,
                                                 const std::vector<PlannedJob>& plan,
                                                 const RunIdentity& identity);
  RunChild(const RunChild&) = delete;
  RunChild& operator=(const RunChild&) = delete;
  ~RunChild();

  /// ProgressMessage, and at the end FinishedMessage, or RefusedMessage for what went wrong before
  /// any job was there.
  Connection& messages() noexcept { return *messages_; }
  /// Whether the first jobs are initialised, and when they began (0: they have not).
  bool ready() const noexcept { return control_->ready.load(); }
  std::uint64_t started_ns() const noexcept { return control_->started_ns.load(); }

  /// Lets the first jobs begin, at that time of CLOCK_MONOTONIC.
  void go(std::uint64_t start_ns) noexcept { control_->start_at_ns.store(start_ns); }
  /// Stops the run, which drains and reports. `signal`: that is the reason; 0: none is.
  void stop(int signal) noexcept;
  void stop_hard(int signal) noexcept;
  /// SIGKILL, to it and by the kernel to its jobs.
  void kill() noexcept;

  /// Whether it has ended; then how() says what there is against that: "was killed by signal 9
  /// (Killed)", or nothing.
  bool ended();
  const std::string& how() const noexcept { return how_; }

 private:
  RunChild() = default;
  struct Unmap {
    void operator()(RunControl* control) const noexcept;
  };

  std::unique_ptr<RunControl, Unmap> control_;
  std::unique_ptr<Connection> messages_;
  pid_t pid_ = -1;
  bool ended_ = false;
  std::string how_;
};

}  // namespace shmif::perf
