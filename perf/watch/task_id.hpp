#pragma once
// A process or a thread, by more than its number.

#include <sys/types.h>

#include <cstdint>

namespace shmif::perf {

/// A task (a process, or a thread of one) that cannot be confused with a later one of the same
/// number.
struct TaskId {
  pid_t number = 0;
  std::uint64_t start_ticks = 0;  ///< since boot, field 22 of proc_pid_stat(5)
  bool operator==(const TaskId&) const = default;
};

}  // namespace shmif::perf
