#pragma once
// Identifies a process or a thread by more than its number.

#include <sys/types.h>

#include <cstdint>

namespace shmif::perf {

/// A task: a process, or a thread of one. A later task with the same number has another TaskId.
struct TaskId {
  pid_t number = 0;                                ///< pid of the process, or tid of the thread
  std::uint64_t start_ticks = 0;                   ///< since boot, field 22 of proc_pid_stat(5)
  bool operator==(const TaskId&) const = default;  ///< whether both are the same task
};

}  // namespace shmif::perf
