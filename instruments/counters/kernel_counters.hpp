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
#include <vector>

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

}  // namespace shmif::perf
