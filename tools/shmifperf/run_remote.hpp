#pragma once
// What `shmifperf run --client` ends in.

#include <string>
#include <vector>

#include "perf/job/job_options.hpp"
#include "perf/run/runner.hpp"
#include "tools/shmifperf/run_output.hpp"

namespace shmif::tools {

/// The servers of "--client=a,b --client=c", each once. Throws UsageError.
std::vector<std::string> servers_of(const std::vector<std::string>& values);

/// Has the servers run the jobs, and prints what they found out to `output`. Result: the exit code.
int run_remotely(const perf::JobSet& set, const std::vector<std::string>& servers,
                 const std::vector<std::string>& argv, RunOutput& output,
                 perf::RunControl& control);

}  // namespace shmif::tools
