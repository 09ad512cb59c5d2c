// Connects senders to receivers.

#include <algorithm>

#include "base/nearest.hpp"
#include "perf/plan/planner.hpp"

namespace shmif::perf {

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

}  // namespace shmif::perf
