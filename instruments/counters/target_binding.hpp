#pragma once
// The task or the CPUs that a counter session is loaded on. The task cannot be confused with a
// later one of the same number: its start time is compared while a descriptor keeps that number
// from being used again.

#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/session.hpp"

namespace shmif::perf {

/// "cannot load the session on thread 7: ...".
Error cannot_load(int number, const std::string& what, const std::string& advice = {});

/// Checks that a session can be loaded on the target. `mask`: it has an event that masks the
/// session. Errors: invalid.
Result<void> check_target(const CounterTarget& target, bool mask);

/// Threads: one at a time.
class TargetBinding {
 public:
  explicit TargetBinding(KernelCounters& kernel) noexcept : kernel_(kernel) {}
  TargetBinding(const TargetBinding&) = delete;
  TargetBinding& operator=(const TargetBinding&) = delete;
  ~TargetBinding() { release(); }

  /// Errors: ESRCH if the task does not exist or has another start time.
  Result<void> bind(const CounterTarget& target);
  void release() noexcept;
  /// Call when the target has executed its program, or when that no longer matters.
  void forget_exec() noexcept { target_.on_exec = false; }

  const CounterTarget& target() const noexcept { return target_; }
  bool is_task() const noexcept { return target_.kind != CounterTarget::Kind::cpu; }
  bool is_process() const noexcept { return target_.kind == CounterTarget::Kind::process; }
  /// Whether its samples come through one ring for each CPU.
  bool is_spread() const noexcept { return target_.kind != CounterTarget::Kind::thread; }
  /// Whether the target is the thread or process that called bind().
  bool is_own() const noexcept { return own_; }
  /// Lists the threads of a process again. Result: whether there is a new one.
  bool list_again();
  /// The threads of the task, by the newest list.
  const std::vector<pid_t>& threads() const noexcept { return threads_; }
  /// Readable when the target has ended. -1 if there is no such descriptor: for CPUs, for a target
  /// that called bind() itself, and if the kernel does not make descriptors of threads.
  int descriptor() const noexcept { return own_ ? -1 : task_file_; }
  bool has_ended() const noexcept;

  /// Stopped threads, and the signals that KernelCounters::release() must pass on to them.
  using Held = std::vector<std::pair<pid_t, int>>;
  /// Stops all threads of the task. Blocks: until they have stopped. After an error, `held` has the
  /// threads that have stopped so far.
  Result<void> hold(Held& held);
  void let_go(const Held& held) noexcept;

 private:
  KernelCounters& kernel_;
  CounterTarget target_;
  bool own_ = false;
  std::vector<pid_t> threads_;
  int task_file_ = -1;
};

/// The targets of a command that counts or samples: one for each process; or, if `cpus` is not
/// empty, these CPUs as the only one. `on_exec` applies to the processes.
inline std::vector<CounterTarget> target_list(std::span<const TaskId> processes,
                                              const std::vector<int>& cpus, bool on_exec) {
  if (!cpus.empty()) return {CounterTarget::cpu(cpus)};
  std::vector<CounterTarget> targets;
  for (const TaskId& process : processes) {
    targets.push_back(CounterTarget::process(process));
    targets.back().on_exec = on_exec;
  }
  return targets;
}

}  // namespace shmif::perf
