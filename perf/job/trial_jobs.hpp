#pragma once
// Which jobs run together when one of them searches for a rate.

#include <cstddef>
#include <set>
#include <span>
#include <vector>

#include "perf/job/plan.hpp"

namespace shmif::perf {

/// The jobs of a trial of job number `job`, by their numbers: itself and the background jobs, and
/// whoever one of these sends to.
std::set<std::size_t> trial_jobs(std::span<const PlannedJob> plan, std::size_t job);

/// The jobs that would never run, for others search and they are in none of their trials. Peers
/// that were made for one of them are left out.
std::vector<std::size_t> idle_beside_searches(std::span<const PlannedJob> plan);

}  // namespace shmif::perf
