#pragma once
// Checks one job by itself, and finds options that no job of a set uses. Only the planner uses
// this.

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "perf/job/job_options.hpp"

namespace shmif::perf {

/// Adds to `problems` the options of `job` that contradict each other, each as "OPTION: why (what
/// to do)".
void check_alone(const JobOptions& job, std::vector<std::string>& problems);

/// Options that have no meaning in the job they were given to: the index of the job, and "OPTION:
/// why (what to do)". An option is not listed if another job uses it with the same value, because
/// [global], a list of engines and the command line set options of many jobs.
std::vector<std::pair<std::size_t, std::string>> unused_options(
    std::span<const JobOptions* const> jobs);

}  // namespace shmif::perf
