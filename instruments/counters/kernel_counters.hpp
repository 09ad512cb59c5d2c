#pragma once
// All system calls of the counters, in one interface. Tests replace it by a scripted one, so they
// can play every error and every race.
//
// Results are like those of system calls: a negative value is a negated errno.

#include <linux/perf_event.h>
#include <sys/types.h>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "instruments/counters/session.hpp"

namespace shmif::perf {

/// A perf_event_attr with a member that older headers lack.
struct EventAttr {
  perf_event_attr base{};
  std::uint64_t config3 = 0;  ///< Linux 6.3
};

/// The bytes of an EventAttr as the kernel takes them, with `size` set, which the kernel reads
/// first.
inline constexpr std::size_t kAttrWithConfig3 = 136;  ///< PERF_ATTR_SIZE_VER8
using AttrBytes = std::array<std::byte, sizeof(perf_event_attr) + kAttrWithConfig3>;
AttrBytes kernel_bytes_of(const EventAttr& attr) noexcept;

/// PERF_FORMAT_LOST (Linux 6.0): a read also tells how many records of the event were lost.
inline constexpr std::uint64_t kFormatLost = 1U << 4U;

/// Threads: any. Blocks: only hold().
class KernelCounters {
 public:
  KernelCounters() = default;
  KernelCounters(const KernelCounters&) = delete;
  KernelCounters& operator=(const KernelCounters&) = delete;
  virtual ~KernelCounters() = default;

  /// perf_event_open(2). The descriptor is closed on exec.
  virtual int open(const EventAttr& attr, pid_t task, int cpu, int group) noexcept = 0;
  /// ioctl(2) on an event.
  virtual int control(int file, unsigned long request, std::uintptr_t argument) noexcept = 0;
  virtual ssize_t read(int file, void* to, std::size_t bytes) noexcept = 0;
  /// Maps the ring of an event, its header page included. Sets `at` on success.
  virtual int map(int file, std::size_t bytes, void** at) noexcept = 0;
  virtual void unmap(void* at, std::size_t bytes) noexcept = 0;
  virtual void close(int file) noexcept = 0;

  /// A descriptor that becomes readable when the task ends. `thread`: waits for the end of this one
  /// thread, otherwise for the end of its process. -EINVAL: the kernel cannot do this for threads.
  virtual int open_task(pid_t task, bool thread) noexcept = 0;
  /// `file`: the descriptor from open_task(), or -1 if that failed.
  virtual bool has_ended(int file, pid_t task) noexcept = 0;
  /// When the task was started, in ticks since boot. 0: the task does not exist, or the time cannot
  /// be read; errno tells why.
  virtual std::uint64_t start_ticks(pid_t task) = 0;
  /// The threads of a process. Empty on an error; errno tells why.
  virtual std::vector<pid_t> threads(pid_t process) = 0;
  /// The owner of a task, if this process is neither that user nor root; otherwise empty.
  virtual std::optional<uid_t> other_owner(pid_t task) {
    (void)task;
    return std::nullopt;
  }
  virtual std::vector<int> online_cpus() = 0;
  /// Whether this machine has the CPU, online or not.
  virtual bool has_cpu(int cpu) {
    (void)cpu;
    return true;
  }

  /// Stops a thread for a moment and changes nothing else about it. Blocks: until it has stopped.
  /// Result: the signal that release() must pass on to it, or 0. The same thread must call both.
  virtual int hold(pid_t thread) noexcept = 0;
  virtual void release(pid_t thread, int signal) noexcept = 0;
};

/// This machine's kernel.
KernelCounters& kernel_counters();

class CounterSession;
struct SessionOptions;
/// A session that uses `kernel`, which must outlive it.
CounterSession session_over(SessionOptions options, KernelCounters& kernel);

// The task or the CPUs that a counter session is loaded on. The task cannot be confused with a
// later one of the same number: its start time is compared while a descriptor keeps that number
// from being used again.

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
