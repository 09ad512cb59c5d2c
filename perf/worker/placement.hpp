#pragma once
// Where a job runs and with which rights: CPUs, priority, memory, user.

#include <sys/types.h>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

// NumaNodes: the NUMA nodes of a machine, and their CPUs, as the kernel lists them.

/// Threads: any. Blocks: while it reads a few small files.
class NumaNodes {
 public:
  /// `folder`: the kernel's list of nodes; a test has its own.
  explicit NumaNodes(std::string folder = "/sys/devices/system/node")
      : folder_(std::move(folder)) {}

  /// The nodes of a list that may have kAllNodes, which stands for all that are online. Errors:
  /// bad_argument for a node that the machine does not have, with those that it has; `option` is
  /// named. If the kernel has no list, as without NUMA, only node 0 is known.
  Result<std::vector<int>> named(const std::vector<int>& nodes, const std::string& option) const;
  /// The CPUs of these nodes; empty for an empty list, if these nodes have only memory, or if the
  /// kernel has no list. Errors: those of named().
  Result<std::vector<int>> cpus_of(const std::vector<int>& nodes, const std::string& option) const;
  /// Whether the kernel lists the CPUs of one of these nodes, also if there are none.
  bool lists_cpus_of(const std::vector<int>& nodes) const;

 private:
  /// The list of numbers in a file; empty if there is none.
  std::vector<int> list_in(const std::string& file) const;

  std::string folder_;
};

/// Gives the calling thread (of a process job: the process) the CPUs, nice value, I/O priority,
/// SCHED_FIFO, NUMA node and cgroup that `job` asks for, before its devices are opened. Errors:
/// what could not be set, and why; not_supported if this kernel has no such feature.
Result<void> take_place(const JobOptions& job);

/// Drops supplementary groups, then the group, then the user, if `job` names a group or user. With
/// a user alone, the group is that user's. Call it when the job's devices are open, and only in a
/// process job. Errors: unknown names, permissions.
Result<void> drop_privileges(const JobOptions& job);

/// While it lives, the calling thread makes and opens files with the rights of the user and group
/// that a job changes to, and only with these: what that user put in the way of an output, such as
/// a link, must not lead to a file that only the caller may write. It does nothing for a job that
/// names neither. Threads: the one that called begin() destroys it.
class AsJobUser {
 public:
  /// Errors: as drop_privileges().
  static Result<AsJobUser> begin(const JobOptions& job);
  AsJobUser(AsJobUser&& other) noexcept : before_(std::exchange(other.before_, std::nullopt)) {}
  AsJobUser& operator=(AsJobUser&&) = delete;
  ~AsJobUser();

 private:
  struct Rights {
    uid_t user;
    gid_t group;
    std::vector<gid_t> groups = {};
    int dumpable = 0;         // PR_SET_DUMPABLE
    int on_parent_death = 0;  // PR_SET_PDEATHSIG
    pid_t parent = 0;
  };
  AsJobUser() = default;
  static Result<void> take(const Rights& rights);

  std::optional<Rights> before_;
};

/// Locks `memory` against paging. Errors: an errno, with the limit that was exceeded.
Result<void> pin(std::span<std::byte> memory);

/// Maps the pages that a forked job will use, so that its first frame causes no page faults: all
/// code, or `memory` for writing. Threads: any. Blocks: a few hundred microseconds.
void map_code_ahead() noexcept;
void map_ahead(std::span<std::byte> memory) noexcept;

}  // namespace shmif::perf
