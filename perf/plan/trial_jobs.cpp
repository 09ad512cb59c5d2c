#include "perf/plan/trial_jobs.hpp"

namespace shmif::perf {

std::set<std::size_t> trial_jobs(std::span<const PlannedJob> plan, std::size_t job) {
  std::vector<std::size_t> found{job};
  for (std::size_t i = 0; i < plan.size(); ++i) {
    if (plan[i].options.background) found.push_back(i);
  }
  std::set<std::size_t> jobs;
  while (!found.empty()) {
    const std::size_t i = found.back();
    found.pop_back();
    if (jobs.insert(i).second && plan[i].to != kNoJob) found.push_back(plan[i].to);
  }
  return jobs;
}

std::vector<std::size_t> idle_beside_searches(std::span<const PlannedJob> plan) {
  std::set<std::size_t> run;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    if (plan[i].options.search != Search::none) run.merge(trial_jobs(plan, i));
  }
  std::vector<std::size_t> idle;
  for (std::size_t i = 0; i < plan.size() && !run.empty(); ++i) {
    if (!run.contains(i) && plan[i].peer_of.empty()) idle.push_back(i);
  }
  return idle;
}

}  // namespace shmif::perf
