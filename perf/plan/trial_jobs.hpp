#pragma once
// Which jobs run together when one of them searches for a rate.

#include <cstddef>
#include <set>
#include <span>
#include <vector>

#include "perf/plan/plan.hpp"

namespace shmif::perf {

/// The jobs of a trial of job number `job`, by their numbers: the job itself, the background jobs,
/// and the jobs that one of these sends to.
std::set<std::size_t> trial_jobs(std::span<const PlannedJob> plan, std::size_t job);

/// The jobs that would never run, because other jobs search and no trial needs them. Peers made for
/// another job are not listed.
std::vector<std::size_t> idle_beside_searches(std::span<const PlannedJob> plan);

}  // namespace shmif::perf
