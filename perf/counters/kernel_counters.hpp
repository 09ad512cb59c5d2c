#pragma once
// All that the counters ask of the kernel, in one interface: tests replace it by a scripted one, so
// every error and every race can be played.
//
// Results are as those of system calls: a negative value is the errno of the failure.

#include <linux/perf_event.h>
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace shmif::perf {

/// A perf_event_attr with the member that came after those of older headers.
struct EventAttr {
  perf_event_attr base{};
  std::uint64_t config3 = 0;  ///< Linux 6.3
};

/// The bytes of these as the kernel takes them, with the size that it looks for first.
inline constexpr std::size_t kAttrWithConfig3 = 136;  ///< PERF_ATTR_SIZE_VER8
using AttrBytes = std::array<std::byte, sizeof(perf_event_attr) + kAttrWithConfig3>;
AttrBytes kernel_bytes_of(const EventAttr& attr) noexcept;

/// PERF_FORMAT_LOST of Linux 6.0: a read also tells how many records of the event found no room.
inline constexpr std::uint64_t kFormatLost = 1U << 4U;

/// Threads: any. Blocks: no call, except hold().
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

  /// A descriptor that is readable when the task has ended. `thread`: the end of this one thread,
  /// otherwise that of its process. -EINVAL: the kernel has none for threads.
  virtual int open_task(pid_t task, bool thread) noexcept = 0;
  /// `file`: from open_task(), or -1 if there is none.
  virtual bool has_ended(int file, pid_t task) noexcept = 0;
  /// When the task was started, in ticks since boot. 0: it is not there, or cannot be read; errno
  /// says why.
  virtual std::uint64_t start_ticks(pid_t task) = 0;
  /// The threads of a process. Empty: errno says why.
  virtual std::vector<pid_t> threads(pid_t process) = 0;
  /// The user to whom a task belongs, if we are neither that user nor root.
  virtual std::optional<uid_t> other_owner(pid_t task) {
    (void)task;
    return std::nullopt;
  }
  virtual std::vector<int> online_cpus() = 0;

  /// Stops a thread for a moment; nothing but its running changes. Blocks: until it stands. Result:
  /// the signal that release() is to hand on to it, or 0. Both are called by the same thread.
  virtual int hold(pid_t thread) noexcept = 0;
  virtual void release(pid_t thread, int signal) noexcept = 0;
};

/// This machine's kernel.
KernelCounters& kernel_counters();

class CounterSession;
struct SessionOptions;
/// A session that asks this kernel, which must outlive it.
CounterSession session_over(SessionOptions options, KernelCounters& kernel);

}  // namespace shmif::perf
