#pragma once
// JobRunner: one job's thread or process, from its creation to its end.

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/result.hpp"

namespace shmif::perf {

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

}  // namespace shmif::perf
