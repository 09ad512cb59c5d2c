#pragma once
// The task or the CPUs that a counter session is loaded on. A task is the one that was meant: its
// start time is compared while a descriptor keeps its number from another one's use.

#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "perf/counters/kernel_counters.hpp"
#include "perf/counters/session.hpp"

namespace shmif::perf {

/// "cannot load the session on thread 7: ...".
Error cannot_load(int number, const std::string& what, const std::string& advice = {});

/// Whether a session can be loaded there. `mask`: it has an event that masks the session. Errors:
/// invalid.
Result<void> check_target(const CounterTarget& target, bool mask);

/// Threads: one at a time.
class TargetBinding {
 public:
  explicit TargetBinding(KernelCounters& kernel) noexcept : kernel_(kernel) {}
  TargetBinding(const TargetBinding&) = delete;
  TargetBinding& operator=(const TargetBinding&) = delete;
  ~TargetBinding() { release(); }

  /// Errors: ESRCH if the task is not there or is not the one meant.
  Result<void> bind(const CounterTarget& target);
  void release() noexcept;
  /// The target has executed the program that it was to begin with, or nobody waits for that.
  void forget_exec() noexcept { target_.on_exec = false; }

  const CounterTarget& target() const noexcept { return target_; }
  bool is_task() const noexcept { return target_.kind != CounterTarget::Kind::cpu; }
  bool is_process() const noexcept { return target_.kind == CounterTarget::Kind::process; }
  /// Its samples come through one ring for each CPU.
  bool is_spread() const noexcept { return target_.kind != CounterTarget::Kind::thread; }
  /// The target is who bound it.
  bool is_own() const noexcept { return own_; }
  /// Lists the threads of a process again. Result: whether there is one that was not there before.
  bool list_again();
  /// Of a task, when they were listed last.
  const std::vector<pid_t>& threads() const noexcept { return threads_; }
  /// Readable when the target has ended; -1: there is none.
  int descriptor() const noexcept { return own_ ? -1 : task_file_; }
  bool has_ended() const noexcept;

  /// Threads that stand still, and the signals that release() is to hand on to them.
  using Held = std::vector<std::pair<pid_t, int>>;
  /// Stops all threads of the task. Blocks: until they stand. Errors: those that stand already are
  /// in `held`.
  Result<void> hold(Held& held);
  void let_go(const Held& held) noexcept;

 private:
  KernelCounters& kernel_;
  CounterTarget target_;
  bool own_ = false;
  std::vector<pid_t> threads_;
  int task_file_ = -1;
};

}  // namespace shmif::perf
