// Which job waits for which: stonewalls, wait_for, and cycles.

#include <algorithm>

#include "perf/plan/planner.hpp"

namespace shmif::perf {

/// The jobs that must have ended before `draft` starts, because of stonewalls.
std::vector<std::size_t> Planner::before(std::size_t draft) const {
  std::size_t wall = draft;
  while (wall > 0 && !drafts_[wall].options.stonewall) --wall;
  std::vector<bool> serves(plan_.size());  // receivers for jobs at or after the stonewall
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    if (draft_of_[i] >= wall && plan_[i].to != kNoJob) serves[plan_[i].to] = true;
  }
  std::vector<std::size_t> jobs;
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    const bool earlier = draft_of_[i] < wall && !plan_[i].options.background;
    const bool receives = !sends(plan_[i].options.rw);
    if (earlier && !(receives && serves[i])) jobs.push_back(i);
  }
  return jobs;
}

void Planner::order() {
  for (std::size_t d = 0; d < drafts_.size(); ++d) {
    const Draft& draft = drafts_[d];
    std::vector<std::size_t> waits = before(d);
    if (!draft.options.wait_for.empty()) {
      const auto found = drafts_named(draft.options.wait_for, draft);
      if (found.empty()) problem(draft.options, unknown("wait_for", draft.options.wait_for));
      for (const std::size_t other : found) {
        if (other == d) {
          problem(draft.options, "wait_for: a job cannot wait for itself (name another job)");
        } else if (drafts_[other].options.background) {
          problem(draft.options,
                  "wait_for: \"" + drafts_[other].options.name +
                      "\" has background=1, so it ends only after all other jobs (leave one of "
                      "the two out)");
        }
        waits.insert(waits.end(), drafts_[other].clones.begin(), drafts_[other].clones.end());
        waits.insert(waits.end(), drafts_[other].peers.begin(), drafts_[other].peers.end());
      }
    }
    std::sort(waits.begin(), waits.end());
    waits.erase(std::unique(waits.begin(), waits.end()), waits.end());
    for (std::size_t i = 0; i < plan_.size(); ++i) {
      if (draft_of_[i] == d) plan_[i].waits_for = waits;
    }
  }
}

/// For each job, the jobs that must have ended before it can end: those that it waits for, and, if
/// it only receives, its senders.
std::vector<std::vector<std::size_t>> Planner::needs() const {
  std::vector<std::vector<std::size_t>> needs;
  needs.reserve(plan_.size());
  for (const PlannedJob& job : plan_) needs.push_back(job.waits_for);
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    const std::size_t to = plan_[i].to;
    if (to != kNoJob && !sends(plan_[to].options.rw)) needs[to].push_back(i);
  }
  return needs;
}

void Planner::check_order() {
  const auto needs_of = needs();
  // Jobs end one after another, unless some wait for each other: those never end.
  std::vector<bool> ends(plan_.size());
  const auto can_end = [&](std::size_t i) {
    return std::all_of(needs_of[i].begin(), needs_of[i].end(),
                       [&](std::size_t need) { return ends[need]; });
  };
  for (bool more = true; more;) {
    more = false;
    for (std::size_t i = 0; i < plan_.size(); ++i) {
      if (ends[i] || !can_end(i)) continue;
      ends[i] = more = true;
    }
  }
  const auto stuck = std::find(ends.begin(), ends.end(), false);
  if (stuck != ends.end()) return report_cycle(needs_of, ends);
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    const PlannedJob& job = plan_[i];
    if (job.to == kNoJob || job.to == i || job.clone != 0) continue;
    const PlannedJob& to = plan_[job.to];
    const bool in_time = std::includes(job.waits_for.begin(), job.waits_for.end(),
                                       to.waits_for.begin(), to.waits_for.end()) &&
                         to.options.start_delay <= job.options.start_delay;
    if (!in_time) {
      problem(job.options, "to: \"" + to.options.name +
                               "\" starts later, and would miss frames (write it before this job)");
    }
  }
}

/// Names the jobs of a cycle: starts at any job that never ends and follows what it needs until a
/// job comes up again.
void Planner::report_cycle(const std::vector<std::vector<std::size_t>>& needs_of,
                           const std::vector<bool>& ends) {
  std::vector<std::size_t> path;
  auto at = static_cast<std::size_t>(std::find(ends.begin(), ends.end(), false) - ends.begin());
  auto again = path.end();
  while ((again = std::find(path.begin(), path.end(), at)) == path.end()) {
    path.push_back(at);
    at = *std::find_if(needs_of[at].begin(), needs_of[at].end(),
                       [&](std::size_t need) { return !ends[need]; });
  }
  std::string circle;
  for (auto it = again; it != path.end(); ++it) circle += '"' + plan_[*it].options.name + "\" for ";
  problem(plan_[at].options, "wait_for: jobs wait for each other, " + circle + '"' +
                                 plan_[at].options.name +
                                 "\" (leave out one wait_for, stonewall or to of them)");
}

}  // namespace shmif::perf
