#pragma once
// Control groups that limit a host's memory and CPU time.

#include <string>
#include <vector>

#include "base/result.hpp"
#include "tools/lab/lab.hpp"

namespace shmif::tools {

/// Makes the groups for the limits of a host, below the group of this process: of version 2, or one
/// for each limit of version 1. The memory that others map, such as a bus, counts for whoever
/// touches it first. Result: their directories; a process joins by writing to cgroup.procs. Errors:
/// this machine or its administrator does not allow it; then no group is left. Blocks: never.
Result<std::vector<std::string>> make_lab_groups(const std::string& lab, const LabHost& host);

}  // namespace shmif::tools
