#pragma once
// What `shmifperf run` ends in.

#include <string>
#include <vector>

#include "perf/job/job_options.hpp"

namespace shmif::tools {

/// Runs the jobs, here or on `servers` where there are some, and prints what they found out. `set`
/// has no problems_of(); `argv` is the command line, for the report. Result: the exit code.
int run_jobs(const perf::JobSet& set, const std::vector<std::string>& argv,
             const std::vector<std::string>& servers);

}  // namespace shmif::tools
