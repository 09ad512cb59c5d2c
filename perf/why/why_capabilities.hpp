#pragma once
// Tells what `shmifperf why` can see on this machine.

#include <vector>

#include "perf/watch/capability.hpp"
#include "perf/watch/kernel_files.hpp"

namespace shmif::perf {

/// First "why" for the whole command, then an entry for each source that some machines lack.
/// Threads: any. Blocks: while the kernel reads the files.
std::vector<Capability> why_capabilities(const KernelFiles& files);

}  // namespace shmif::perf
