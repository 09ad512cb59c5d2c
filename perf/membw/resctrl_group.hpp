#pragma once
// A monitoring group of the resctrl file system: made for the watched processes, which are moved
// into it, and deleted when they have been put back.
//
// A control group (a directory below the mount point, or the mount point itself) has monitoring
// groups in its directory mon_groups. A task is in one control group, and in at most one monitoring
// group of that.

#include <sys/types.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/watch/kernel_files.hpp"

namespace shmif::perf {

/// What changes the file system. Tests have others: on the real one, a directory that is made has
/// files in it at once, a task that is written to one file leaves another, and a count can be there
/// at the second read although it was not at the first.
class GroupCalls {
 public:
  GroupCalls() = default;
  GroupCalls(const GroupCalls&) = delete;
  GroupCalls& operator=(const GroupCalls&) = delete;
  virtual ~GroupCalls() = default;
  virtual Result<void> mount(const std::string& path) = 0;
  virtual Result<void> unmount(const std::string& path) = 0;
  virtual Result<void> make(const std::string& path) = 0;
  virtual Result<void> remove(const std::string& path) = 0;
  /// Writes to a file of a group.
  virtual Result<void> write(const KernelFiles& files, const std::string& name,
                             const std::string& text) = 0;
  /// Reads a count of a group.
  virtual Result<std::string> read(const KernelFiles& files, const std::string& name) {
    return files.read(name);
  }
};
GroupCalls& kernel_groups();

/// The paths of all control groups: first the mount point itself. Errors: the system's.
Result<std::vector<std::string>> control_groups(const KernelFiles& files,
                                                const std::string& mount_point);

/// Threads: one at a time. Blocks: as the kernel does for such files.
class ResctrlGroup {
 public:
  ResctrlGroup(KernelFiles files, GroupCalls& calls) : files_(std::move(files)), calls_(calls) {}
  ResctrlGroup(const ResctrlGroup&) = delete;
  ResctrlGroup& operator=(const ResctrlGroup&) = delete;
  ~ResctrlGroup() { static_cast<void>(undo()); }

  /// Makes the group `name` and moves all threads of the processes into it. `control`: the control
  /// group for them, made if it is missing; empty: the one that they are in. Errors: Errc::busy if
  /// they are in more than one; ESRCH if none of them lives; the system's. After an error
  /// everything is as before.
  Result<void> make(const std::string& mount_point, const std::string& name,
                    const std::vector<pid_t>& processes, const std::string& control = {});
  /// Moves what is still in the group back to where it was, and deletes what make() made. A group
  /// that somebody else deleted is no error.
  Result<void> undo();

  bool exists() const { return !group_.empty(); }
  const std::string& path() const noexcept { return group_; }  ///< below the root of `files`
  /// The control group above it.
  const std::string& control_path() const noexcept { return control_; }

 private:
  /// Where a task was: its control group and its monitoring group, if it was in one.
  struct Home {
    std::string control, monitoring;
    bool operator==(const Home&) const = default;
  };
  Result<void> find_homes(const std::string& mount_point);
  Result<std::set<int>> threads_of(const std::vector<pid_t>& processes) const;
  Result<void> choose_control(const std::string& mount_point, const std::string& control,
                              const std::set<int>& threads);
  Result<void> move_in(const std::vector<pid_t>& processes);
  Result<void> move(int task, const Home& to) const;
  Result<void> put_back();

  KernelFiles files_;
  GroupCalls& calls_;
  std::string group_, control_;
  std::string made_control_;
  std::map<int, Home> homes_;  ///< of all tasks, until those of ours are known
  std::map<int, Home> moved_;
  Home default_home_;  ///< of threads that began in the group
};

}  // namespace shmif::perf
