#pragma once
// Finds control groups of version 2, and makes them for a run.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace shmif::perf {

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
