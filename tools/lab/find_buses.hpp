#pragma once
// Every bus on this machine that this user may see.

#include <string>
#include <vector>

#include "shmif/bus.hpp"

namespace shmif::tools {

/// The buses in /dev/shm, those in `also` (of labs), and those that a process maps which this user
/// may look at. A bus that can only be found by walking through all file systems is missing: one
/// outside of /dev/shm that nobody uses. In the order of the paths. Threads: any. Blocks: for the
/// kernel's lists of mappings, some 10 us for each process.
std::vector<BusInfo> find_buses(const std::vector<std::string>& also);

}  // namespace shmif::tools
