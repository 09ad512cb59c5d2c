#pragma once
// Allocations of the resctrl file system, as its files `schemata` write them: "MB:0=100;1=50".

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "instruments/membw/measure.hpp"
#include "instruments/membw/resctrl.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {

/// How much of a resource a group may use in one domain.
struct Allotment {
  std::string resource;  ///< "MB", "L3", "L3CODE"
  unsigned domain = 0;
  std::string value;  ///< "50"; for a cache, a mask in hexadecimal digits: "ff"

  bool operator==(const Allotment&) const = default;
};
/// At most one for each resource and domain.
using Schemata = std::vector<Allotment>;

/// Reads "MB:0=50;1=60;L3:0=ff", and the kernel's files, which have a line for each resource. If a
/// part names no resource, its domain belongs to the resource of the previous part. Errors:
/// Errc::bad_argument. Threads: any. Blocks: never.
Result<Schemata> read_schemata(std::string_view text);
/// Reads "MB:0=100..10/10": steps from 100 to 10, each 10 lower. All ranges of the text must have
/// the same number of steps; values that are not ranges stay as they are. Errors:
/// Errc::bad_argument, also for a text without a range, and for more than 1000 steps. Threads: any.
/// Blocks: never.
Result<std::vector<Schemata>> read_schemata_steps(std::string_view text);

/// "MB:0=50;1=60;L3:0=ff"
std::string schemata_text(const Schemata& schemata);
/// The same in the form that the kernel reads, with a line for each resource.
std::string schemata_lines(const Schemata& schemata);
/// Whether both values are the same number. Their resource decides whether the digits are decimal
/// or hexadecimal.
bool is_same_value(const Allotment& one, const Allotment& other);

/// Checks that this machine can have the allocation. The file `schemata` of the mount point has the
/// resources and domains; info/MB/min_bandwidth and bandwidth_gran limit the bandwidth;
/// info/L3/cbm_mask, min_cbm_bits and sparse_masks limit the masks. Errors: Errc::bad_argument,
/// with what would be right; Errc::not_supported if the machine cannot allocate. Threads: any.
/// Blocks: while it reads files.
Result<void> check_schemata(const KernelFiles& files, const std::string& mount_point,
                            const Schemata& schemata);

// Allocations of resctrl (the kernel calls them "schemata"). A measurement sets them on its control
// group, one after another, and puts back the old values at its end.

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
