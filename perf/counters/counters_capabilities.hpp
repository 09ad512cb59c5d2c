#pragma once
// What `shmifperf stat` and `shmifperf sample` can count on this machine.

#include <vector>

#include "perf/counters/kernel_counters.hpp"
#include "perf/watch/capability.hpp"
#include "perf/watch/kernel_files.hpp"

namespace shmif::perf {

/// "counters.software", ".hardware", ".tracepoints", ".sampling" and ".kernel_symbols". For the
/// machine itself, the kernel is asked to open each kind of event; of a tree, its files tell.
/// Threads: any. Blocks: as the kernel does for such files.
std::vector<Capability> counters_capabilities(const KernelFiles& files);
/// The same, with another kernel for "/".
std::vector<Capability> counters_capabilities_by(const KernelFiles& files, KernelCounters& kernel);

}  // namespace shmif::perf
