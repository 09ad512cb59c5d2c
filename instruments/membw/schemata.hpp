#pragma once
// Allocations of the resctrl file system, as its files `schemata` write them: "MB:0=100;1=50".

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
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

/// The one of the same resource and domain; null if there is none.
const Allotment* find_in(const Schemata& all, const Allotment& one);

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

}  // namespace shmif::perf
