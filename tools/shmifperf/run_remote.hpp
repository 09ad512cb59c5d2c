#pragma once
// The last step of `shmifperf run --client`.

#include <string>
#include <vector>

#include "perf/control/runner.hpp"
#include "perf/job/job_options.hpp"
#include "tools/shmifperf/run_output.hpp"

namespace shmif::tools {

/// The servers in "--client=a,b --client=c". Each appears once. Throws UsageError.
std::vector<std::string> servers_of(const std::vector<std::string>& values);

/// Lets the servers run the jobs, and prints the result to `output`. Result: the exit code.
int run_remotely(const perf::JobSet& set, const std::vector<std::string>& servers,
                 const std::vector<std::string>& argv, RunOutput& output,
                 perf::RunControl& control);

}  // namespace shmif::tools
