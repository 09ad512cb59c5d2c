#pragma once
// Measures memory bandwidth with the resctrl file system: what the watched processes moved between
// the last-level caches and the memory.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "instruments/membw/resctrl_files.hpp"
#include "instruments/membw/resctrl_group.hpp"
#include "instruments/membw/source.hpp"

namespace shmif::perf {

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
