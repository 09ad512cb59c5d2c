#pragma once
// Allocations that a measurement sets on its control group of resctrl, one after another, and puts
// back at its end: the kernel's "schemata".

#include <string>
#include <vector>

#include "perf/membw/measure.hpp"
#include "perf/membw/resctrl_group.hpp"
#include "perf/membw/resctrl_source.hpp"
#include "perf/membw/schemata.hpp"

namespace shmif::perf {

/// What a control group may use. Threads: one at a time. Blocks: as the kernel does for such files.
class ResctrlAllocation {
 public:
  explicit ResctrlAllocation(KernelFiles files, GroupCalls& calls = kernel_groups())
      : files_(std::move(files)), calls_(calls) {}
  ResctrlAllocation(const ResctrlAllocation&) = delete;
  ResctrlAllocation& operator=(const ResctrlAllocation&) = delete;
  ~ResctrlAllocation() { static_cast<void>(put_back()); }

  /// Sets it on a control group, always the same one. Remembers the old values. Errors: the
  /// system's, with what the kernel says in info/last_cmd_status; Errc::bad_argument if the kernel
  /// made other values of it. What was set until then is put back by put_back().
  Result<void> set(const std::string& mount_point, const std::string& group,
                   const Schemata& schemata);
  /// Whether the group still has what set() made. Errors: Errc::busy if somebody changed it; the
  /// system's.
  Result<void> check() const;
  /// Sets the old values; each by itself if the kernel does not take all. A group that is gone is
  /// no error. Errors: the system's, for the values that could not be put back.
  Result<void> put_back();

 private:
  Result<void> write(const Schemata& schemata, const std::string& what) const;
  Result<void> put_back_each() const;
  Result<Schemata> read() const;

  KernelFiles files_;
  GroupCalls& calls_;
  std::string mount_point_, group_;  ///< empty: nothing is set
  Schemata now_, old_;
};

/// The steps of a measurement, each with an allocation of its own. Checks all of them before
/// anything is opened; sets each before its first sample; looks after each sample whether it is
/// still set; and puts the old one back at the end.
class AllocationSteps {
 public:
  /// `source` must outlive it, and be one of those that measure. `samples`: of each step, without
  /// the one that is dropped; 0: there is one step, without an end.
  AllocationSteps(KernelFiles files, std::vector<Schemata> steps, std::size_t samples,
                  ResctrlSource& source, GroupCalls& calls = kernel_groups())
      : files_(files),
        steps_(std::move(steps)),
        samples_(samples),
        source_(source),
        allocation_(std::move(files), calls) {}

  /// Gives it init, set_up, measured and end. It must outlive the measurement.
  void hook_into(MembwHooks& hooks);
  /// The text of each step.
  std::vector<std::string> texts() const;

 private:
  Result<void> init();
  Result<bool> set_up(std::size_t number);

  KernelFiles files_;
  std::vector<Schemata> steps_;
  std::size_t samples_;
  ResctrlSource& source_;
  ResctrlAllocation allocation_;
};

}  // namespace shmif::perf
