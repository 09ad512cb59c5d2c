#pragma once
// Measures memory bandwidth with the resctrl file system: what the watched processes moved between
// the last-level caches and the memory.

#include <sys/types.h>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "instruments/membw/source.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {

// Reads the files of the resctrl file system that measuring memory bandwidth needs.
//
// Threads: any. Blocks: never.

/// The value in a file mon_data/mon_L3_NN/mbm_total_bytes or mbm_local_bytes.
struct MbmValue {
  enum class State {
    counted,
    unavailable,  ///< "Unavailable": the hardware has no value now; a later read may give one
    unassigned,   ///< "Unassigned": no counter is assigned to this event of this group
    failed,       ///< "Error": the hardware refused the event
  } state = State::counted;
  std::uint64_t bytes = 0;  ///< since the group was made; only if `counted`
};
/// Errors: Errc::bad_argument for other text, and for a line without a newline.
Result<MbmValue> read_mbm_value(std::string_view text);

/// How much a counter that only grows has grown from `before` to `after`, also if it passed 2^64.
/// Empty if it was reset meanwhile.
std::optional<std::uint64_t> grown_by(std::uint64_t before, std::uint64_t after) noexcept;

/// The mode in brackets in info/L3_MON/mbm_assign_mode: "mbm_event" or "default". Errors:
/// Errc::bad_argument if there is not exactly one.
Result<std::string> read_assign_mode(std::string_view text);

/// A file mbm_L3_assignments: the state ("e", "_") of each event in each domain. Errors:
/// Errc::bad_argument for other text.
using MbmAssignments = std::map<std::string, std::map<unsigned, std::string>>;
Result<MbmAssignments> read_mbm_assignments(std::string_view text);

/// The number of a directory mon_L3_NN; empty for other names.
std::optional<unsigned> l3_domain_of(std::string_view name);

/// Where a file system of type resctrl is mounted, according to a text as in /proc/mounts. Empty if
/// there is no such mount.
std::optional<std::string> resctrl_mount_in(std::string_view mounts);

/// The numbers in a file `tasks`, one on each line. Errors: Errc::bad_argument for other text.
Result<std::vector<int>> read_tasks(std::string_view text);

// A monitoring group of the resctrl file system, usually made for the watched processes. They are
// moved into it, moved back at the end, and then the group is deleted, unless it was there before.
//
// A control group (a directory below the mount point, or the mount point itself) has monitoring
// groups in its directory mon_groups. A task is in one control group, and in at most one monitoring
// group of that control group.

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

struct ResctrlOptions {
  bool mount = false;           ///< mount the file system if necessary, and unmount it at the end
  std::string control_group{};  ///< for the watched processes; made if it is missing
  std::string monitoring_group{};  ///< below it; made if it is missing; empty: one with our number
  /// If set, count only the local bytes (mbm_local_bytes) of this domain of the last-level caches.
  std::optional<unsigned> local_domain{};
};

/// With processes, it measures the group that they are moved into. Without processes, it adds all
/// control groups, which is the whole machine. It cannot tell reads from writes.
class ResctrlSource final : public MemorySource {
 public:
  explicit ResctrlSource(KernelFiles files, ResctrlOptions options = {},
                         GroupCalls& calls = kernel_groups(), MonotonicClock clock = now_ns);
  ~ResctrlSource() override;

  std::string name() const override { return "resctrl"; }
  std::string part() const override { return options_.local_domain ? "local" : ""; }
  std::string origin() const override;
  MemoryScope scope() const override { return scope_; }
  MemoryLevel level() const override { return MemoryLevel::dram; }

  /// Finds the file system, or mounts it; open() does so, too. Errors: Errc::not_supported if the
  /// machine has no resctrl; ENODEV if it is not mounted and the options do not ask to mount it.
  Result<void> prepare();
  /// Errors: those of prepare(); Errc::not_supported if the hardware cannot count bandwidth; those
  /// of ResctrlGroup::make().
  Result<void> open(const std::vector<pid_t>& processes) override;
  Result<void> enable() override;
  Result<void> disable() override;
  MemoryReading read() override;
  Result<void> close() override;

  /// Valid after prepare().
  const std::string& mount_point() const noexcept { return mount_point_; }
  /// The control group of the watched processes while the source is open; empty if there is none.
  std::string control_group() const { return group_ ? group_->control_path() : std::string(); }
  /// Why open() failed; empty if it succeeded.
  const std::string& failure() const noexcept { return failure_; }

  /// Where it is mounted, below the root of `files`. Errors: as open().
  static Result<std::string> find_mount(const KernelFiles& files);
  /// The bandwidth events of the hardware. Errors: Errc::not_supported if there are none.
  static Result<std::vector<std::string>> find_events(const KernelFiles& files,
                                                      const std::string& mount_point);

 private:
  /// The values of one event, by group and domain.
  using Values = std::map<std::string, MbmValue>;
  /// All events at one moment.
  struct Snapshot {
    std::uint64_t time_ns = 0;
    std::map<std::string, Values> events;
    std::string failure;  ///< why a file could not be read
  };
  Result<void> open_there(const std::vector<pid_t>& processes);
  /// What to do about a value that the kernel says is unavailable.
  enum class IfUnavailable : std::uint8_t { read_again, leave };
  Snapshot take(IfUnavailable if_unavailable) const;
  Result<Values> values_of(const std::string& event, IfUnavailable if_unavailable) const;
  void assign_counters() const;
  std::optional<double> rate_of(const std::string& event, std::string& reason) const;

  KernelFiles files_;
  ResctrlOptions options_;
  GroupCalls& calls_;
  MonotonicClock clock_;
  MemoryScope scope_ = MemoryScope::machine;
  std::string mount_point_, mounted_, failure_;
  std::vector<std::string> events_;
  std::vector<std::string> groups_;  ///< we read the mon_data of these
  std::unique_ptr<ResctrlGroup> group_;
  Snapshot begin_, end_;
};

}  // namespace shmif::perf
