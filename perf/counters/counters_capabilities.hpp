#pragma once
// What `shmifperf stat` and `shmifperf sample` can count on this machine.

#include <vector>

#include "perf/counters/kernel_counters.hpp"
#include "perf/watch/capability.hpp"
#include "perf/watch/kernel_files.hpp"

namespace shmif::perf {

/// "counters.software", ".hardware", ".tracepoints", ".sampling" and ".kernel_symbols". On the
/// machine itself, asks the kernel to open each kind of event; for a recorded tree, reads its
/// files. Threads: any. Blocks: as the kernel does for such files.
std::vector<Capability> counters_capabilities(const KernelFiles& files);
/// The same for a machine, but asks `kernel` instead of the real one.
std::vector<Capability> counters_capabilities_by(const KernelFiles& files, KernelCounters& kernel);

}  // namespace shmif::perf
