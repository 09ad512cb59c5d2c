#pragma once
// A monitoring group of the resctrl file system, usually made for the watched processes. They are
// moved into it, moved back at the end, and then the group is deleted, unless it was there before.
//
// A control group (a directory below the mount point, or the mount point itself) has monitoring
// groups in its directory mon_groups. A task is in one control group, and in at most one monitoring
// group of that control group.

#include <sys/types.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {

/// The calls that change the file system. Tests use other calls, because the real file system has
/// effects of its own: a new directory has files at once, a task that is written to one file leaves
/// another, and a count may appear only at the second read.
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
  /// Reads the count of a group.
  virtual Result<std::string> read(const KernelFiles& files, const std::string& name) {
    return files.read(name);
  }
};
GroupCalls& kernel_groups();

/// The paths of all control groups. The first is the mount point itself. Errors: an errno.
Result<std::vector<std::string>> control_groups(const KernelFiles& files,
                                                const std::string& mount_point);

/// Threads: one at a time. Blocks: while the kernel reads or writes the files.
class ResctrlGroup {
 public:
  ResctrlGroup(KernelFiles files, GroupCalls& calls) : files_(std::move(files)), calls_(calls) {}
  ResctrlGroup(const ResctrlGroup&) = delete;
  ResctrlGroup& operator=(const ResctrlGroup&) = delete;
  ~ResctrlGroup() { static_cast<void>(undo()); }

  /// Moves all threads of the processes into the group `name`, which it makes if it is missing.
  /// `control`: the control group for them, made if it is missing; empty: the one that they are in.
  /// Errors: Errc::busy if they are in more than one, or start threads faster than these can be
  /// moved; ESRCH if all of them have ended; an errno. After an error everything is as before.
  Result<void> make(const std::string& mount_point, const std::string& name,
                    const std::vector<pid_t>& processes, const std::string& control = {});
  /// Moves the tasks back to where they were, and deletes what make() made. Tasks that began in a
  /// group that it did not make stay there. Succeeds if somebody else deleted the group.
  Result<void> undo();

  /// Below the root of `files`; empty if there is no group.
  const std::string& path() const noexcept { return group_; }
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
  bool made_group_ = false;
  std::map<int, Home> homes_;  ///< of all tasks; only while make() runs
  std::map<int, Home> moved_;
  Home default_home_;  ///< for threads that began in the group
};

}  // namespace shmif::perf
