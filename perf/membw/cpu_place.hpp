#pragma once
// Where a CPU is: its socket, and the domain of its last-level cache, by which resctrl counts.

#include "base/result.hpp"
#include "perf/watch/kernel_files.hpp"

namespace shmif::perf {

struct CpuPlace {
  unsigned socket = 0;
  unsigned l3_domain = 0;
};
/// By /sys/devices/system/cpu/cpuN: topology/physical_package_id, and the id of the cache of level
/// 3. Errors: Errc::not_supported if it has none; those of KernelFiles. Threads: any. Blocks: for
/// the files.
Result<CpuPlace> place_of_cpu(const KernelFiles& files, unsigned cpu);

}  // namespace shmif::perf
