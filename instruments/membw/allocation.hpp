#pragma once
// Allocations of resctrl (the kernel calls them "schemata"). A measurement sets them on its control
// group, one after another, and puts back the old values at its end.

#include <string>
#include <vector>

#include "instruments/membw/measure.hpp"
#include "instruments/membw/resctrl_group.hpp"
#include "instruments/membw/resctrl_source.hpp"
#include "instruments/membw/schemata.hpp"

namespace shmif::perf {

/// What a control group may use. Threads: one at a time. Blocks: while the kernel reads or writes
/// the files.
class ResctrlAllocation {
 public:
  explicit ResctrlAllocation(KernelFiles files, GroupCalls& calls = kernel_groups())
      : files_(std::move(files)), calls_(calls) {}
  ResctrlAllocation(const ResctrlAllocation&) = delete;
  ResctrlAllocation& operator=(const ResctrlAllocation&) = delete;
  ~ResctrlAllocation() { static_cast<void>(put_back()); }

  /// Sets `schemata` on a control group, and remembers the old values. All calls must name the same
  /// group. Errors: an errno, with what the kernel says in info/last_cmd_status;
  /// Errc::bad_argument if the kernel then shows other values. After an error, put_back() puts back
  /// what was set until then.
  Result<void> set(const std::string& mount_point, const std::string& group,
                   const Schemata& schemata);
  /// Whether the group still has what set() made. Errors: Errc::busy if somebody changed it; the
  /// system's.
  Result<void> check() const;
  /// Sets the old values; each by itself if the kernel does not take all at once. Succeeds if the
  /// group is gone. Errors: an errno, for the values that could not be put back.
  Result<void> put_back();

 private:
  Result<void> write(const Schemata& schemata, const std::string& what) const;
  Result<void> put_back_each() const;
  Result<Schemata> read() const;

  KernelFiles files_;
  GroupCalls& calls_;
  std::string mount_point_, group_;  ///< empty until set() is called
  Schemata now_, old_;
};

/// The steps of a measurement, each with its own allocation. Checks all allocations before anything
/// is opened. Sets each one before the first sample of its step, and checks after each sample that
/// it is still set. Puts back the old allocation at the end.
class AllocationSteps {
 public:
  /// `source` must outlive this object, and be one of the sources that measure. `samples`: how many
  /// each step has, without the one that is dropped; 0: one step that does not end.
  AllocationSteps(KernelFiles files, std::vector<Schemata> steps, std::size_t samples,
                  ResctrlSource& source, GroupCalls& calls = kernel_groups())
      : files_(files),
        steps_(std::move(steps)),
        samples_(samples),
        source_(source),
        allocation_(std::move(files), calls) {}

  /// Sets the hooks init, set_up, measured and end. This object must outlive the measurement.
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
