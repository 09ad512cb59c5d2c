#pragma once
// Stops the threads of another process for a moment, with ptrace.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.hpp"
#include "perf/inject/machine.hpp"
#include "perf/watch/process.hpp"

namespace shmif::perf {

/// A stopped thread, and where it goes on if its registers are not changed.
struct HeldThread {
  pid_t number = 0;
  ThreadState state;
  /// The thread is about to return from a call that failed only because the thread was stopped.
  bool asks_again = false;
  /// The thread is in the stub, and finds its way back alone.
  bool is_lost = false;
};

/// How a stopped thread reported itself.
struct ThreadStop {
  enum class Kind : std::uint8_t {
    ended,   ///< the thread has ended, or executes another program
    late,    ///< the thread has not stopped in time
    trap,    ///< by PTRACE_INTERRUPT, or the whole process was stopped
    call,    ///< it enters or leaves a system call
    signal,  ///< it is about to get a signal
  };
  Kind kind = Kind::ended;
  int signal = 0;              ///< of Kind::signal
  bool is_group_stop = false;  ///< of Kind::trap
};

/// Why this process cannot be traced, and what would change that. `number`: the errno.
Error refusal_to_trace(const TaskId& process, int number, const KernelFiles& files = KernelFiles());

/// Only the thread that made this object may use it. If that thread ends, even by SIGKILL, the
/// kernel lets all held threads go, because no option of ptrace says otherwise.
class HeldThreads {
 public:
  using Clock = std::chrono::steady_clock;
  explicit HeldThreads(const TaskId& process) : process_(process) {}
  HeldThreads(const HeldThreads&) = delete;
  HeldThreads& operator=(const HeldThreads&) = delete;
  /// Lets the threads go.
  ~HeldThreads();

  /// Stops all threads, except those that wait in a call that would then fail with EINTR. If there
  /// are no other threads, stops one of these. Blocks: two seconds at most. Errors: EPERM;
  /// Errc::busy if the process is stopped by a signal, or another process traces any of its
  /// threads; Errc::timed_out if a thread sleeps in a way that cannot be stopped.
  Result<void> hold();
  /// Also stops the threads that hold() left alone.
  Result<void> hold_rest();
  std::vector<HeldThread>& threads() noexcept { return threads_; }
  const std::vector<HeldThread>& threads() const noexcept { return threads_; }

  /// The following functions change a held thread. Result: whether the change was possible.
  bool set(const HeldThread& thread, const ThreadRegisters& registers);
  /// Restores the thread as if it had not been stopped.
  bool set_back(const HeldThread& thread);
  bool set_blocked(const HeldThread& thread, std::uint64_t blocked);
  bool poke(const HeldThread& thread, std::uint64_t address, std::uint64_t word);
  /// Lets the thread run to its next call (`PTRACE_SYSCALL`) or until it is stopped again, and
  /// waits for that; at most two seconds, which only a busy machine needs.
  ThreadStop to_next_call(const HeldThread& thread);
  ThreadStop to_next_stop(const HeldThread& thread, int signal);
  /// Reads where the thread is now, and whether it has to make its call again. Result: false if the
  /// thread has ended.
  bool look_at(HeldThread& thread) const;

 private:
  Result<bool> hold_one(pid_t number);
  Result<void> expect_no_other() const;
  ThreadStop wait_for(pid_t number, Clock::time_point until) const;
  enum class Threads : std::uint8_t { sturdy, all };
  std::vector<pid_t> not_held(Threads which) const;
  ThreadStop run(const HeldThread& thread, long how, int signal);

  TaskId process_;
  static constexpr std::chrono::seconds kPatience{2};
  Clock::time_point until_ = Clock::now() + kPatience;  ///< for hold()
  std::vector<HeldThread> threads_;
};

}  // namespace shmif::perf
