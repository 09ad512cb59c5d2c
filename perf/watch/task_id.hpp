#pragma once
// Identifies a process or a thread by more than its number.

#include <sys/types.h>

#include <cstdint>

namespace shmif::perf {

/// A task: a process, or a thread of one. A later task with the same number has another TaskId.
struct TaskId {
  pid_t number = 0;
  std::uint64_t start_ticks = 0;  ///< since boot, field 22 of proc_pid_stat(5)
  bool operator==(const TaskId&) const = default;
};

}  // namespace shmif::perf
