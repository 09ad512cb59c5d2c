#pragma once
// Where a CPU is: its socket, and the domain of its last-level cache. resctrl counts by these
// domains.

#include "base/result.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {

struct CpuPlace {
  unsigned socket = 0;
  unsigned l3_domain = 0;
};
/// Reads /sys/devices/system/cpu/cpuN: topology/physical_package_id, and the id of the level 3
/// cache. Errors: Errc::not_supported if the CPU has no such cache; those of KernelFiles. Threads:
/// any. Blocks: while it reads files.
Result<CpuPlace> place_of_cpu(const KernelFiles& files, unsigned cpu);

}  // namespace shmif::perf
