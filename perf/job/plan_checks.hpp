#pragma once
// What is wrong with one job by itself, and what no job of a set makes use of. For the planner
// alone.

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

/// Options that were given to a job, by its place, and mean nothing there, as "OPTION: why (what to
/// do)". What another job makes use of with that value may stand at all of them: [global], a list
/// of engines and the command line are for many jobs.
std::vector<std::pair<std::size_t, std::string>> unused_options(
    std::span<const JobOptions* const> jobs);

}  // namespace shmif::perf
