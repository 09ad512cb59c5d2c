#pragma once
// What `shmifperf why` can see on this machine.

#include <vector>

#include "perf/watch/capability.hpp"
#include "perf/watch/kernel_files.hpp"

namespace shmif::perf {

/// "why" for the whole, then an entry for each source that some machines lack. Threads: any.
/// Blocks: as the kernel does for such files.
std::vector<Capability> why_capabilities(const KernelFiles& files);

}  // namespace shmif::perf
