#pragma once
// What `shmifperf run` ends in.

#include <string>
#include <vector>

#include "tools/shmifperf/job_line.hpp"

namespace shmif::tools {

/// Runs the jobs, here or on the servers where there are some, and prints what they found out.
/// `argv` is the command line, for the report. Result: the exit code.
int run_jobs(const RunLine& wanted, const std::vector<std::string>& argv);

}  // namespace shmif::tools
