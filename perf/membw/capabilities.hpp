#pragma once
// Tells which sources of memory bandwidth this machine has.

#include <vector>

#include "perf/watch/capability.hpp"
#include "perf/watch/kernel_files.hpp"

namespace shmif::perf {

/// "membw.pmu", "membw.resctrl", "membw.allocation" and "membw.software". Changes nothing. Threads:
/// any. Blocks: while it reads files.
std::vector<Capability> membw_capabilities(const KernelFiles& files);

}  // namespace shmif::perf
