// Who sends to whom, and who waits for whom: stonewalls, wait_for, and cycles.

#include <algorithm>

#include "base/nearest.hpp"
#include "perf/plan/planner.hpp"

namespace shmif::perf {

// ---- Senders and receivers ----

/// The drafts that `by` means by `name`. From a list of engines, it means the one with its own
/// engine.
std::vector<std::size_t> Planner::drafts_named(const std::string& name, const Draft& by) const {
  std::vector<std::size_t> found;
  for (std::size_t d = 0; d < drafts_.size(); ++d) {
    const bool written =
        drafts_[d].written_name == name &&
        (!by.listed || !drafts_[d].listed || drafts_[d].options.engine == by.options.engine);
    if (written || drafts_[d].options.name == name) found.push_back(d);
  }
  return found;
}

std::string Planner::unknown(const std::string& option, const std::string& name) const {
  std::vector<std::string> known;
  known.reserve(drafts_.size());
  for (const Draft& draft : drafts_) known.push_back(draft.written_name);
  const auto meant = base::nearest(name, known);
  return option + ": there is no job \"" + name + '"' +
         (meant ? ", did you mean \"" + *meant + "\"?" : " (give the name of a job of this run)");
}

void Planner::connect() {
  for (std::size_t d = 0; d < drafts_.size(); ++d) {
    const Draft& from = drafts_[d];
    if (from.options.rw == Role::txrx && alone_on_its_wire(from.options.engine)) {
      for (const std::size_t job : from.clones) plan_[job].to = job;
    }
    if (from.options.to.empty()) continue;
    const auto found = drafts_named(from.options.to, from);
    if (found.empty()) {
      problem(from.options, unknown("to", from.options.to));
    } else if (found.size() > 1) {
      problem(from.options, "to: \"" + from.options.to +
                                "\" runs over several engines (give this job the same list)");
    } else if (found[0] == d) {
      problem(from.options, "to: a job cannot send to itself (leave 'to' out, and a peer is made)");
    } else {
      connect(from, drafts_[found[0]]);
    }
  }
  // A job that its partner names in `to` sends back to the partner.
  for (std::size_t job = 0; job < plan_.size(); ++job) {
    const std::size_t to = plan_[job].to;
    if (to == kNoJob || plan_[job].options.rw != Role::txrx || plan_[to].options.rw != Role::txrx) {
      continue;
    }
    if (plan_[to].to == kNoJob) plan_[to].to = job;
  }
}

void Planner::connect(const Draft& from, const Draft& to) {
  const Role role = to.options.rw;
  const bool answers = role == Role::echo;
  const bool receives = role == Role::rx || role == Role::txrx;
  const std::string name = "to: \"" + to.options.name + '"';
  if (from.options.rw == Role::pingpong ? !answers : !receives) {
    return problem(from.options, name + (from.options.rw == Role::pingpong
                                             ? " sends no replies (give it rw=echo)"
                                             : " does not receive (give it rw=rx or rw=txrx)"));
  }
  if (from.options.engine != to.options.engine) {
    return problem(from.options, name + " is on engine=" + name_of(to.options.engine) +
                                     ", this job on engine=" + name_of(from.options.engine) +
                                     " (use one engine for both)");
  }
  // Each server has a bus of its own; perf/remote says what else two servers need.
  const bool on_one_server = from.options.server == to.options.server;
  if (on_one_server &&
      (from.options.wire != to.options.wire || from.options.bus != to.options.bus)) {
    return problem(from.options,
                   name +
                       " is on another wire (use the same bus and wire for both; for a bad line "
                       "between them, give fault and fault_rx)");
  }
  for (std::size_t i = 0; i < from.clones.size(); ++i) {
    plan_[from.clones[i]].to = to.clones[i % to.clones.size()];
  }
}

void Planner::check_receivers() {
  std::vector<bool> reached(plan_.size());
  for (const PlannedJob& job : plan_) {
    if (job.to != kNoJob) reached[job.to] = true;
  }
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    const JobOptions& job = plan_[i].options;
    const bool waits_for_frames = job.rw == Role::rx || job.rw == Role::echo;
    // A capture file has its own frames, and a job that only verifies expects those of another run.
    const bool fed = reached[i] || job.engine == EngineKind::pcap || job.verify_only ||
                     job.background || !job.exec.empty();
    if (waits_for_frames && !fed) {
      problem(job, "rw: no job sends to this job (name it in the 'to' of a sender)");
    }
    if (job.rw == Role::txrx && plan_[i].to == kNoJob && job.exec.empty()) {
      problem(job, "rw: this job has no receiver (give it 'to')");
    }
  }
}

// ---- The order ----

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
