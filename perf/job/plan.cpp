#include "perf/job/plan.hpp"

#include <algorithm>
#include <set>

#include "perf/engine/engine.hpp"
#include "perf/job/plan_checks.hpp"
#include "perf/job/trial_jobs.hpp"
#include "perf/job/values.hpp"
#include "shmif/nearest.hpp"

namespace shmif::perf {
namespace {

constexpr std::size_t kMostProblems = 20;
constexpr std::size_t kMostJobs = 1024;

/// A job as it was written, for one engine; not yet its clones.
struct Draft {
  JobOptions options;
  std::string written_name;           // without the engine
  bool listed = false;                // one of several, by a list of engines
  std::vector<std::size_t> clones{};  // their places in the plan
  std::vector<std::size_t> peers{};   // those of the peers made for them
};

bool alone_on_its_wire(EngineKind engine) noexcept {
  return capabilities_of(engine).most_ends == 1;
}

class Planner {
 public:
  explicit Planner(const JobSet& set) {
    if (set.jobs.empty()) {
      problems_.emplace_back(
          "there are no jobs (write a section, as [name], or options on the command line)");
      return;
    }
    multiply_engines(set.jobs);
    check_each();
    if (!problems_.empty()) return;
    make_clones();
    check_names();
    connect();
    if (!problems_.empty()) return;
    check_receivers();
    name_wires();
    drop_idle_minimums();
    check_searches();
    order();
    if (problems_.empty()) check_order();
  }

  const std::vector<std::string>& problems() const { return problems_; }
  std::vector<PlannedJob> plan() && { return std::move(plan_); }

 private:
  void problem(const JobOptions& job, const std::string& what) {
    if (problems_.size() >= kMostProblems) return;
    const std::string where = job.where.empty() ? "" : job.where + ": ";
    const std::string name = job.name.empty() ? "" : "job \"" + job.name + "\": ";
    problems_.push_back(where + name + what);
  }

  void multiply_engines(const std::vector<JobOptions>& jobs);
  void check_each();
  void make_clones();
  std::size_t add(const JobOptions& options, std::uint32_t clone);
  void add_peer(std::size_t job);
  void check_names();
  std::vector<std::size_t> drafts_named(const std::string& name, const Draft& by) const;
  std::string unknown(const std::string& option, const std::string& name) const;
  void connect();
  void connect(const Draft& from, const Draft& to);
  void check_receivers();
  void name_wires();
  void drop_idle_minimums();
  void check_searches();
  void order();
  std::vector<std::size_t> before(std::size_t draft) const;
  void check_order();
  std::vector<std::vector<std::size_t>> needs() const;
  void report_cycle(const std::vector<std::vector<std::size_t>>& needs_of,
                    const std::vector<bool>& ends);

  std::vector<Draft> drafts_;
  std::vector<PlannedJob> plan_;
  std::vector<std::size_t> draft_of_;  // of each planned job
  std::vector<std::string> problems_;
};

/// Jobs with the same list, one behind the other, up to a stonewall: a block for each engine.
void Planner::multiply_engines(const std::vector<JobOptions>& jobs) {
  for (std::size_t i = 0; i < jobs.size();) {
    std::size_t end = i + 1;
    if (jobs[i].engines.empty()) {
      drafts_.push_back({jobs[i], jobs[i].name, false});
      i = end;
      continue;
    }
    while (end < jobs.size() && jobs[end].engines == jobs[i].engines && !jobs[end].stonewall) ++end;
    for (const EngineKind engine : jobs[i].engines) {
      for (std::size_t j = i; j < end; ++j) {
        Draft draft{jobs[j], jobs[j].name, true};
        draft.options.engine = engine;
        draft.options.engines.clear();
        draft.options.name += std::string("-") + name_of(engine);
        draft.options.stonewall =
            draft.options.stonewall || (j == i && engine != jobs[i].engines[0]);
        drafts_.push_back(std::move(draft));
      }
    }
    i = end;
  }
}

void Planner::check_each() {
  std::set<std::string> names;
  std::size_t count = 0;
  bool lasting = false;
  for (const Draft& draft : drafts_) {
    const JobOptions& job = draft.options;
    if (!names.insert(job.name).second)
      problem(job, "another job has that name (choose one for each)");
    std::vector<std::string> found;
    check_alone(job, found);
    for (const std::string& what : found) problem(job, what);
    count += 2 * std::size_t{job.numjobs};
    lasting = lasting || !job.background;
  }
  if (!lasting)
    problem(drafts_[0].options, "background: every job is one, and none keeps the run alive");
  if (count > 2 * kMostJobs) {
    problems_.push_back("there are more than " + std::to_string(kMostJobs) +
                        " jobs in all (numjobs counts)");
  }
}

std::size_t Planner::add(const JobOptions& options, std::uint32_t clone) {
  PlannedJob job;
  job.options = options;
  job.options.numjobs = 1;
  job.clone = clone;
  plan_.push_back(std::move(job));
  return plan_.size() - 1;
}

/// Random numbers of its own for each; those of the first are as they were given.
std::uint64_t seed_of(std::uint64_t seed, std::uint64_t which) noexcept {
  return seed + which * 0x9e3779b97f4a7c15U;  // 2^64 divided by the golden ratio: far apart
}

void give_seeds(JobOptions& options, std::uint64_t which) {
  options.randseed = seed_of(options.randseed, which);
  options.fault.seed = seed_of(options.fault.seed, which);
  options.fault_rx.seed = seed_of(options.fault_rx.seed, which);
}

/// One CPU for each where they are split.
std::vector<int> share_of(const std::vector<int>& cpus, CpuPolicy policy, std::uint32_t clone) {
  if (policy == CpuPolicy::shared || cpus.empty()) return cpus;
  return {cpus[clone]};
}

/// Of rw=txrx with one rate for both, without a partner of its own making: its part of the sum.
void mix_rates(JobOptions& options) {
  if (options.rw != Role::txrx || options.rwmixtx == 50) return;
  const auto mix = [&](PerDirection<std::uint64_t>& rate) {
    const std::uint64_t sum = 2 * rate.tx;
    rate.tx = sum / 100 * options.rwmixtx + sum % 100 * options.rwmixtx / 100;
    rate.rx = sum - rate.tx;
  };
  mix(options.rate_bps);
  mix(options.rate_fps);
}

void Planner::make_clones() {
  std::string group;
  for (std::size_t d = 0; d < drafts_.size(); ++d) {
    Draft& draft = drafts_[d];
    const JobOptions& written = draft.options;
    if (group.empty() || written.new_group || written.stonewall) group = written.name;
    const bool named_by_another = std::any_of(drafts_.begin(), drafts_.end(), [&](const Draft& by) {
      return by.options.rw == Role::txrx && by.options.to == draft.written_name;
    });
    const bool wants_peer = sends(written.rw) && written.to.empty() && written.exec.empty() &&
                            !alone_on_its_wire(written.engine) && !named_by_another;
    for (std::uint32_t clone = 0; clone < written.numjobs; ++clone) {
      JobOptions options = written;
      if (written.numjobs > 1) {
        options.name += '.' + std::to_string(clone);
        if (!options.write_pcap.empty()) options.write_pcap += '.' + std::to_string(clone);
      }
      give_seeds(options, clone);
      options.cpus_allowed = share_of(written.cpus_allowed, written.cpus_allowed_policy, clone);
      options.peer_cpus_allowed =
          share_of(written.peer_cpus_allowed, written.cpus_allowed_policy, clone);
      if (wants_peer) mix_rates(options);
      draft.clones.push_back(add(options, clone));
      plan_.back().group = group;
      draft_of_.push_back(d);
      if (!wants_peer) continue;
      add_peer(draft.clones.back());
      draft.peers.push_back(plan_.size() - 1);
      draft_of_.push_back(d);
    }
  }
}

/// Who receives what `job` sends.
void Planner::add_peer(std::size_t job) {
  JobOptions options = plan_[job].options;
  const std::string name = options.name;
  const JobOptions none;
  const bool both = options.rw == Role::txrx;
  options.name += options.rw == Role::tx ? ".sink" : both ? ".peer" : ".echo";
  options.rw = options.rw == Role::tx ? Role::rx : both ? Role::txrx : Role::echo;
  std::swap(options.bs.tx, options.bs.rx);
  std::swap(options.rate_bps.tx, options.rate_bps.rx);
  std::swap(options.rate_fps.tx, options.rate_fps.rx);
  std::swap(options.rate_min_bps.tx, options.rate_min_bps.rx);
  std::swap(options.rate_min_fps.tx, options.rate_min_fps.rx);
  if (options.rw == Role::rx) {
    // The one direction there is was the second value, and is what the peer receives.
    options.rate_min_bps = {0, options.rate_min_bps.tx};
    options.rate_min_fps = {0, options.rate_min_fps.tx};
  } else if (options.rw == Role::echo) {
    options.rate_min_bps = {};
    options.rate_min_fps = {};
  }
  options.cpus_allowed = options.peer_cpus_allowed;
  options.peer_cpus_allowed.clear();
  options.description.clear();
  options.given.clear();
  options.fault = none.fault;
  options.fault_rx = none.fault_rx;
  options.search = Search::none;
  options.latency_target = none.latency_target;
  options.steadystate.clear();
  options.replay.clear();
  options.write_pcap.clear();
  options.exec_prerun.clear();
  options.exec_postrun.clear();
  options.ip.clear();
  options.flow = 0;
  options.exitall = false;
  options.verify_state_load.clear();
  if (!both) {
    options.thinktime = options.thinktime_spin = none.thinktime;
    options.number_ios = options.size_bytes = options.io_limit_bytes = 0;
    options.loops = 1;
    options.time_based = false;
  } else {
    give_seeds(options, 0x8000'0000);  // beyond every clone
  }
  const std::size_t peer = add(options, plan_[job].clone);
  plan_[peer].group = plan_[job].group;
  plan_[peer].peer_of = name;
  plan_[job].to = peer;
  if (both) plan_[peer].to = job;
}

void Planner::check_names() {
  std::set<std::string> names;
  for (const PlannedJob& job : plan_) {
    if (!names.insert(job.options.name).second) {
      problem(job.options,
              "another job, or a clone or peer of one, has that name (choose another)");
    }
  }
}

/// Those that `by` means by `name`: of a list of engines, the one with its own.
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
  const auto meant = nearest(name, known);
  return option + ": there is no job \"" + name + '"' +
         (meant ? ", did you mean \"" + *meant + "\"?" : "");
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
                                "\" is run over several engines (give this "
                                "job the same list)");
    } else if (found[0] == d) {
      problem(from.options, "to: a job cannot send to itself (leave it out, and a peer is made)");
    } else {
      connect(from, drafts_[found[0]]);
    }
  }
  // Who is named by a partner sends back to it.
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
                                             ? " does not answer (it needs rw=echo)"
                                             : " does not receive (it needs rw=rx or rw=txrx)"));
  }
  if (from.options.engine != to.options.engine) {
    return problem(from.options, name + " is on engine=" + name_of(to.options.engine) +
                                     ", this job on engine=" + name_of(from.options.engine) +
                                     " (use one engine for both)");
  }
  if (from.options.wire != to.options.wire || from.options.bus != to.options.bus) {
    return problem(from.options, name + " is on another wire (use the same bus and wire for both)");
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
    // A capture file brings its own frames, and who only verifies expects those of another run.
    const bool fed = reached[i] || job.engine == EngineKind::pcap || job.verify_only ||
                     job.background || !job.exec.empty();
    if (waits_for_frames && !fed) {
      problem(job, "rw: nobody sends to this job (name it in the 'to' of a sender)");
    }
    if (job.rw == Role::txrx && plan_[i].to == kNoJob && job.exec.empty()) {
      problem(job, "rw: this job has nobody to send to (give it 'to')");
    }
  }
}

/// Wires with room for one or two become one for each job or pair, by the name of its first.
void Planner::name_wires() {
  std::vector<std::size_t> partner(plan_.size(), kNoJob);
  const auto has_room = [&](std::size_t i) {
    return capabilities_of(plan_[i].options.engine).most_ends == 0;
  };
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    const std::size_t to = plan_[i].to;
    if (has_room(i) || to == kNoJob || to == i) continue;
    if ((partner[to] != kNoJob && partner[to] != i) || (partner[i] != kNoJob && partner[i] != to)) {
      problem(plan_[i].options,
              std::string("to: engine=") + name_of(plan_[i].options.engine) +
                  " joins two jobs, and \"" + plan_[to].options.name +
                  "\" has another already (give each its own, or use engine=bus)");
    }
    partner[to] = i;
    partner[i] = to;
  }
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    if (has_room(i)) continue;
    std::string& wire = plan_[i].options.wire;
    wire += (wire.empty() ? "" : "/") + plan_[std::min(i, partner[i])].options.name;
  }
}

/// A minimum is for a direction in which the job has traffic: one value stands for both.
void Planner::drop_idle_minimums() {
  for (PlannedJob& job : plan_) {
    if (job.options.rw == Role::tx) job.options.rate_min_bps.rx = job.options.rate_min_fps.rx = 0;
    if (job.options.rw == Role::rx) job.options.rate_min_bps.tx = job.options.rate_min_fps.tx = 0;
  }
}

void Planner::check_searches() {
  for (const std::size_t idle : idle_beside_searches(plan_)) {
    problem(plan_[idle].options,
            "background: beside a job with search only background jobs run, and jobs that receive "
            "(give it background=1)");
  }
}

/// Who must have ended before `draft` starts, by stonewalls.
std::vector<std::size_t> Planner::before(std::size_t draft) const {
  std::size_t wall = draft;
  while (wall > 0 && !drafts_[wall].options.stonewall) --wall;
  std::vector<bool> serves(plan_.size());  // somebody at or behind the wall
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
          problem(draft.options, "wait_for: a job cannot wait for itself");
        } else if (drafts_[other].options.background) {
          problem(draft.options, "wait_for: \"" + drafts_[other].options.name +
                                     "\" has background=1, and ends only when all others have");
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

/// Of each job, who must have ended before it can: those that it waits for to start, and, for who
/// only receives, those that send to it.
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
  // Jobs end in an order, unless some wait for each other: those never do.
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

/// Names the jobs of a circle: from any that never ends, along what it needs, until one comes
/// again.
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
  problem(plan_[at].options,
          "wait_for: jobs wait for each other, " + circle + '"' + plan_[at].options.name + '"');
}

}  // namespace

Planning plan_of(const JobSet& set) {
  Planner planner(set);
  std::vector<std::string> problems = planner.problems();
  return {std::move(planner).plan(), std::move(problems)};
}

std::vector<std::string> problems_of(const JobSet& set) {
  return plan_of(set).problems;
}

Result<std::vector<PlannedJob>> expand(const JobSet& set) {
  Planning planning = plan_of(set);
  if (!planning.problems.empty()) return Error(Errc::bad_argument, planning.problems[0]);
  return std::move(planning.jobs);
}

}  // namespace shmif::perf
