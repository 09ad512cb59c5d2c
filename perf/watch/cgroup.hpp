#pragma once
// Control groups of version 2: where they are, and those that a run makes.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace shmif::perf {

/// The directory of a group. `name` is its path, or its path below /sys/fs/cgroup, as cgroup tools
/// write it. Threads: any. Blocks: while it looks at the file system.
std::string cgroup_path(const std::string& name);

/// The groups that the runs of a campaign made, and that they remove. Threads: one at a time.
class MadeCgroups {
 public:
  struct Wish {
    std::string name;
    std::uint32_t weight = 0;  ///< its share of the CPUs (cpu.weight); 0: the kernel's
    bool stays = false;        ///< it is not removed
  };
  MadeCgroups() = default;
  MadeCgroups(MadeCgroups&& other) noexcept = default;
  MadeCgroups& operator=(MadeCgroups&& other) noexcept = default;
  /// As remove(); what cannot be removed stays.
  ~MadeCgroups();

  /// Makes the group if there is none, and its parent is a group of version 2. A parent is never
  /// made. Result: also done if nothing could be made, for which entering the group says why.
  /// Errors: exists for a weight of a group that exists, and was not made here; the system's, with
  /// the remedy.
  Result<void> make(const Wish& wish);
  /// Removes the groups that make() made, but not those that stay, nor others. Result: those that
  /// could not be removed, each with the reason. Call it when their processes have ended. Blocks:
  /// up to a second for each group that still has a process.
  std::vector<std::string> remove();

 private:
  std::map<std::string, bool> made_;  // by path: whether it stays
};

}  // namespace shmif::perf
