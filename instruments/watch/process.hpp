#pragma once
// A process that an instrument watches. It may end, exec or fork meanwhile, and another process may
// get its number.

#include <sys/types.h>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "instruments/watch/kernel_files.hpp"
#include "instruments/watch/task_id.hpp"

namespace shmif::perf {

/// The fields of a text as in /proc/PID/stat that instruments use. The name may contain spaces,
/// parentheses and newlines.
struct TaskStat {
  std::string name;
  char state = '?';  ///< 'R' running or ready to run, 'S', 'D', 'T' stopped, 't' traced, 'Z', 'X'
  std::uint64_t flags = 0;  ///< PF_... of linux/sched.h
  std::uint64_t minor_faults = 0, major_faults = 0;
  std::uint64_t user_ticks = 0, system_ticks = 0;
  std::uint64_t threads = 0;  ///< of its process
  std::uint64_t start_ticks = 0;
  int cpu = -1;  ///< where it ran last
};
/// Errors: Errc::bad_argument for a text that is truncated or has another form.
Result<TaskStat> read_task_stat(std::string_view text);
/// Reads the file "stat" of a task's folder, such as /proc/12 or /proc/12/task/13. Errors: those of
/// KernelFiles::read() and read_task_stat(). Blocks: while the kernel answers.
Result<TaskStat> task_stat_in(const std::string& folder, const KernelFiles& files = KernelFiles());

/// Reads process numbers such as "12", "12,13" or "12 13": only digits, no number twice, at most
/// 1024.
/// Errors: Errc::bad_argument, and the message names the wrong word.
Result<std::vector<pid_t>> read_pids(std::string_view text);

/// Checks that /proc below the root of `files` numbers processes as this process does. In a new PID
/// namespace, /proc belongs to the outer namespace until another one is mounted. Its numbers then
/// belong to other processes. Errors: Errc::not_supported if the numbers differ. If /proc has no
/// link "self", this cannot be known, and the check succeeds.
Result<void> check_numbers(const KernelFiles& files = KernelFiles());

/// Whether the first thread has ended (pthread_exit(3)) and another thread still runs. /proc/PID
/// then shows a zombie without memory.
bool outlives_first_thread(const TaskId& process, const KernelFiles& files = KernelFiles());

/// A living process. Threads: one at a time. Blocks: never.
class Process {
 public:
  /// Errors: ESRCH; Errc::not_supported if the kernel has no pidfd_open; those of check_numbers().
  static Result<Process> open(pid_t pid, const KernelFiles& files = KernelFiles());

  pid_t pid() const noexcept { return id_.number; }
  const TaskId& id() const noexcept { return id_; }
  /// Readable when the process has ended.
  int descriptor() const noexcept { return file_.get(); }
  bool has_ended() const noexcept;

 private:
  Process(TaskId id, UniqueFd file) : id_(id), file_(std::move(file)) {}

  TaskId id_;
  UniqueFd file_;
};

// Finds control groups of version 2, and makes them for a run.

/// The directory of a group. `name` is its path, or its path below /sys/fs/cgroup, as cgroup tools
/// write it. Threads: any. Blocks: while it reads the file system.
std::string cgroup_path(const std::string& name);

/// The groups that the runs of a campaign make and remove. Threads: one at a time.
class MadeCgroups {
 public:
  struct Wish {
    std::string name;
    std::uint32_t weight = 0;  ///< its share of the CPUs (cpu.weight); 0: the kernel's default
    bool stays = false;        ///< remove() leaves it
  };
  MadeCgroups() = default;
  MadeCgroups(const MadeCgroups&) = delete;
  MadeCgroups& operator=(const MadeCgroups&) = delete;
  /// Does what remove() does. A group that cannot be removed stays.
  ~MadeCgroups();

  /// Makes the group if it is missing and its parent is a group of version 2. Never makes a parent.
  /// Succeeds also if the parent is not of version 2: entering the group then fails and says why.
  /// Errors: exists if a weight is wanted for a group that exists and was not made here; the
  /// system's, with the remedy.
  Result<void> make(const Wish& wish);
  /// Removes the groups that make() made, except those that stay. Result: the groups that could not
  /// be removed, each with the reason. Call it when their processes have ended. Blocks: up to a
  /// second for each group that still has a process.
  std::vector<std::string> remove();

 private:
  std::map<std::string, bool> made_;  // by path: true if remove() leaves it
};

}  // namespace shmif::perf
