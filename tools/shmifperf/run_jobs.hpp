#pragma once
// The last step of `shmifperf run`.

#include <string>
#include <vector>

#include "tools/shmifperf/job_line.hpp"

namespace shmif::tools {

/// Runs the jobs on this machine, or on the servers if there are any, and prints the result.
/// `argv`: the command line, for the report. Result: the exit code.
int run_jobs(const RunLine& wanted, const std::vector<std::string>& argv);

}  // namespace shmif::tools
