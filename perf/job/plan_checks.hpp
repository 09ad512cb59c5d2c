#pragma once
// What is wrong with one job by itself. For plan.cpp alone.

#include <string>
#include <vector>

#include "perf/job/job_options.hpp"

namespace shmif::perf {

/// Adds to `problems` the options of `job` that contradict each other, each as "OPTION: why (what
/// to do)".
void check_alone(const JobOptions& job, std::vector<std::string>& problems);

}  // namespace shmif::perf
