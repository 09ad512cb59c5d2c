#include "perf/plan/plan.hpp"

#include "perf/option/option_table.hpp"
#include "perf/plan/planner.hpp"
#include "shmif/debug/debug.hpp"
#include "shmif/mac.hpp"

namespace shmif::perf {
namespace {

constexpr std::size_t kMaxProblems = 20;
constexpr std::size_t kMaxJobs = 1024;

/// If the CPUs are split, each clone gets one.
std::vector<int> share_of(const std::vector<int>& cpus, CpuPolicy policy, std::uint32_t clone) {
  if (policy == CpuPolicy::shared || cpus.empty()) return cpus;
  return {cpus[clone]};
}

// ---- The peer that is made for a job ----

std::uint64_t seed_of(std::uint64_t seed, std::uint64_t which) noexcept {
  return seed + which * 0x9e3779b97f4a7c15U;  // 2^64 / golden ratio: seeds are far apart
}

/// Copies what the rows of the options say that a peer has.
void share_options(const JobOptions& job, JobOptions& peer) {
  for (const OptionRow& row : option_table()) {
    if (!row.copy_to_peer || (row.for_sending_peer && !sends(peer.rw))) continue;
    row.copy_to_peer(job, peer);
  }
  peer.cpus_allowed = job.peer_cpus_allowed;
}

/// Copies the minimum of each direction that the peer has.
void share_minimum(const JobOptions& job, JobOptions& peer) {
  if (peer.rw == Role::txrx) {
    peer.rate_min_bps = {job.rate_min_bps.rx, job.rate_min_bps.tx};
    peer.rate_min_fps = {job.rate_min_fps.rx, job.rate_min_fps.tx};
  } else if (peer.rw == Role::rx) {
    // The only direction is the second value: what the peer receives.
    peer.rate_min_bps.rx = job.rate_min_bps.rx;
    peer.rate_min_fps.rx = job.rate_min_fps.rx;
  }
}

}  // namespace

PerDirection<std::uint64_t> mixed(std::uint64_t rate, std::uint32_t percent) noexcept {
  const std::uint64_t sum = 2 * rate;
  const std::uint64_t tx = sum / 100 * percent + sum % 100 * percent / 100;
  return {tx, sum - tx};
}

namespace {

bool has_rate(const JobOptions& job) noexcept {
  return job.rate_bps.tx != 0 || job.rate_fps.tx != 0;
}
bool divides_rates(const JobOptions& job) noexcept {
  return job.rw == Role::txrx && job.rwmixtx && has_rate(job);
}

}  // namespace

void mix_rates(JobOptions& job) {
  if (!divides_rates(job)) return;
  job.rate_bps = mixed(job.rate_bps.tx, *job.rwmixtx);
  job.rate_fps = mixed(job.rate_fps.tx, *job.rwmixtx);
}

void give_seeds(JobOptions& job, std::uint64_t which) {
  job.randseed = seed_of(job.randseed, which);
  job.fault.seed = seed_of(job.fault.seed, which);
  job.fault_rx.seed = seed_of(job.fault_rx.seed, which);
}

JobOptions made_peer(const JobOptions& job) {
  const bool both = job.rw == Role::txrx;
  const bool one_way = job.rw == Role::tx;
  JobOptions peer;
  peer.name = job.name + (one_way ? ".sink" : both ? ".peer" : ".echo");
  peer.rw = one_way ? Role::rx : both ? Role::txrx : Role::echo;
  peer.where = job.where;
  share_options(job, peer);
  share_minimum(job, peer);
  if (both && job.rwmixtx && !has_rate(job)) peer.rwmixtx = 100 - *job.rwmixtx;
  if (both) give_seeds(peer, 0x8000'0000);  // beyond every clone
  return peer;
}

// ---- The plan ----

Planner::Planner(const JobSet& set) {
  if (set.jobs.empty()) {
    problems_.emplace_back(
        "there are no jobs (write a section such as [name] in a job file, or options on the "
        "command line)");
    return;
  }
  multiply_engines(set.jobs);
  for (Draft& draft : drafts_) drop_unused(draft.options);
  check_each();
  check_used();
  if (!problems_.empty()) return;
  make_clones();
  if (!problems_.empty()) return;
  check_names();
  connect();
  if (!problems_.empty()) return;
  check_receivers();
  name_wires();
  agree_on_wires();
  check_files(set.run);
  drop_idle_minimums();
  check_searches();
  order();
  check_weights();
  if (problems_.empty()) check_order();
}

/// `what` begins with the option that it is about; otherwise it is about the whole job.
void Planner::problem(const JobOptions& job, const std::string& what) {
  if (problems_.size() >= kMaxProblems) return;
  const auto of_option = job.where_of.find(what.substr(0, what.find(':')));
  const std::string& place = of_option == job.where_of.end() ? job.where : of_option->second;
  const std::string where = place.empty() ? "" : place + ": ";
  const std::string name = job.name.empty() ? "" : "job \"" + job.name + "\": ";
  const std::string all = where + name + what;
  if (std::ranges::find(problems_, all) == problems_.end()) problems_.push_back(all);
}

/// Makes a block for each engine from consecutive jobs with the same list, up to a stonewall.
void Planner::multiply_engines(const std::vector<JobOptions>& jobs) {
  for (std::size_t i = 0; i < jobs.size();) {
    std::size_t end = i + 1;
    if (jobs[i].engines.empty()) {
      drafts_.push_back({.options = jobs[i], .written_name = jobs[i].name});
      i = end;
      continue;
    }
    while (end < jobs.size() && jobs[end].engines == jobs[i].engines && !jobs[end].stonewall) ++end;
    for (const EngineKind engine : jobs[i].engines) {
      for (std::size_t j = i; j < end; ++j) {
        Draft draft{.options = jobs[j], .written_name = jobs[j].name, .listed = true};
        draft.options.engine = engine;
        draft.options.engines.clear();
        // The address of a machine is for the other engines of the list.
        if (engine == EngineKind::bus && !MacAddress::parse(draft.options.hostname))
          draft.options.hostname = JobOptions().hostname;
        draft.options.name += std::string("-") + name_of(engine);
        if (!draft.options.write_pcap.empty()) {
          draft.options.write_pcap += std::string(".") + name_of(engine);
        }
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
  std::set<std::pair<std::string, std::string>> told;  // job as written, problem
  std::size_t count = 0;
  bool lasting = false;
  for (const Draft& draft : drafts_) {
    const JobOptions& job = draft.options;
    if (!names.insert(job.name).second)
      problem(job, "another job has that name (give each job its own)");
    std::vector<std::string> found;
    check_alone(job, found);
    for (const std::string& what : found) {
      // A list of engines makes several jobs of one that was written.
      if (told.emplace(draft.written_name, what).second || !draft.listed) problem(job, what);
    }
    count += 2 * std::size_t{job.numjobs};
    lasting = lasting || !job.background;
  }
  if (!lasting)
    problem(
        drafts_[0].options,
        "background: all jobs have background=1, so no job keeps the run going (leave it out in "
        "one of them)");
  if (count > 2 * kMaxJobs) {
    problems_.push_back("there are more than " + std::to_string(kMaxJobs) +
                        " jobs in all, clones included (give a lower numjobs)");
  }
}

void Planner::check_used() {
  std::vector<const JobOptions*> jobs;
  jobs.reserve(drafts_.size());
  for (const Draft& draft : drafts_) jobs.push_back(&draft.options);
  for (const auto& [job, what] : unused_options(jobs)) problem(*jobs[job], what);
}

std::size_t Planner::add(const JobOptions& options, std::uint32_t clone) {
  PlannedJob job;
  job.options = options;
  job.options.numjobs = 1;
  job.clone = clone;
  plan_.push_back(std::move(job));
  return plan_.size() - 1;
}

bool Planner::wants_peer(const Draft& draft) const {
  const JobOptions& job = draft.options;
  const bool named_by_another = std::any_of(drafts_.begin(), drafts_.end(), [&](const Draft& by) {
    return by.options.rw == Role::txrx && by.options.to == draft.written_name;
  });
  const bool leads_elsewhere = job.engine == EngineKind::udp || job.engine == EngineKind::bus;
  const bool is_received_elsewhere = job.no_peer && leads_elsewhere;
  return sends(job.rw) && job.to.empty() && job.exec.empty() && !is_received_elsewhere &&
         !alone_on_its_wire(job.engine) && !named_by_another;
}

void Planner::make_clones() {
  std::string group;
  for (std::size_t d = 0; d < drafts_.size(); ++d) {
    Draft& draft = drafts_[d];
    const JobOptions& written = draft.options;
    if (group.empty() || written.new_group || written.stonewall) group = written.name;
    const bool with_peer = wants_peer(draft);
    if (written.rw == Role::txrx && written.rwmixtx && !with_peer) {
      problem(written,
              "rwmixtx: divides the rate between a job and the peer made for it, but no peer is "
              "made for this job (give each job its own rate)");
    }
    for (std::uint32_t clone = 0; clone < written.numjobs; ++clone) {
      JobOptions options = written;
      if (written.numjobs > 1) {
        options.name += '.' + std::to_string(clone);
        if (!options.write_pcap.empty()) options.write_pcap += '.' + std::to_string(clone);
        if (writes_capture(options)) options.filename += '.' + std::to_string(clone);
      }
      if (options.rw == Role::rx) options.write_pcap.clear();  // only sent frames are recorded
      give_seeds(options, clone);
      options.cpus_allowed = share_of(written.cpus_allowed, written.cpus_allowed_policy, clone);
      options.peer_cpus_allowed =
          share_of(written.peer_cpus_allowed, written.cpus_allowed_policy, clone);
      if (with_peer) mix_rates(options);
      draft.clones.push_back(add(options, clone));
      plan_.back().group = group;
      draft_of_.push_back(d);
      if (!with_peer) continue;
      add_peer(draft.clones.back());
      draft.peers.push_back(plan_.size() - 1);
      draft_of_.push_back(d);
    }
  }
}

/// Adds the peer that receives what `job` sends.
void Planner::add_peer(std::size_t job) {
  const std::size_t peer = add(made_peer(plan_[job].options), plan_[job].clone);
  plan_[peer].group = plan_[job].group;
  plan_[peer].peer_of = plan_[job].options.name;
  plan_[job].to = peer;
  if (plan_[peer].options.rw == Role::txrx) plan_[peer].to = job;
}

void Planner::check_names() {
  std::set<std::string> names;
  for (const PlannedJob& job : plan_) {
    if (!names.insert(job.options.name).second) {
      problem(
          job.options,
          "another job, or a clone or peer of another job, has that name (choose another name)");
    }
  }
}

/// A minimum applies only to directions in which the job has traffic. One value can set both.
void Planner::drop_idle_minimums() {
  for (PlannedJob& job : plan_) {
    if (job.options.rw == Role::tx) job.options.rate_min_bps.rx = job.options.rate_min_fps.rx = 0;
    if (job.options.rw == Role::rx) job.options.rate_min_bps.tx = job.options.rate_min_fps.tx = 0;
  }
}

/// A weight is a ratio to other jobs that send at the same time.
void Planner::check_weights() {
  const auto waits = [&](std::size_t job, std::size_t other) {
    return std::ranges::binary_search(plan_[job].waits_for, other);
  };
  std::set<std::uint32_t> used;
  std::vector<std::size_t> alone;
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    if (plan_[i].options.flow == 0) continue;
    bool has_other = false;
    for (std::size_t j = 0; j < plan_.size() && !has_other; ++j) {
      has_other = j != i && plan_[j].options.flow != 0 && !waits(i, j) && !waits(j, i);
    }
    if (has_other) {
      used.insert(plan_[i].options.flow);
    } else {
      alone.push_back(i);
    }
  }
  for (const std::size_t job : alone) {
    if (used.contains(plan_[job].options.flow)) continue;
    problem(plan_[job].options,
            "flow: has no effect, because no other job that sends at the same time has a weight "
            "(give another job flow, too, or leave it out)");
  }
}

/// The jobs that would never run, because other jobs search and no trial needs them.
void Planner::check_searches() {
  std::set<std::size_t> run;
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    if (plan_[i].options.search != Search::none) run.merge(trial_jobs(plan_, i));
  }
  for (std::size_t i = 0; i < plan_.size() && !run.empty(); ++i) {
    if (run.contains(i) || !plan_[i].peer_of.empty()) continue;
    problem(plan_[i].options,
            "background: a search runs only beside background jobs and jobs that receive (give "
            "this job background=1)");
  }
}

namespace {

/// What --debug=plan says of each job.
void tell(const Planning& planning) {
  for (const PlannedJob& job : planning.jobs) {
    debug(Debug::plan, [&] {
      std::string text =
          "job " + job.options.name + ", group " + job.group + ", from " + job.options.where;
      if (job.peer_of.empty()) {
        for (const auto& [name, value] : job.options.given) {
          text.append(", ").append(name).append("=").append(value);
        }
      } else {
        text += ", made as the peer of " + job.peer_of;
      }
      if (job.to != kNoJob) text += "; sends to " + planning.jobs[job.to].options.name;
      const char* joint = "; waits for ";
      for (const std::size_t other : job.waits_for) {
        text += std::exchange(joint, ", ") + planning.jobs[other].options.name;
      }
      return text;
    });
  }
  for (const std::string& problem : planning.problems) {
    debug(Debug::plan, [&] { return "refused: " + problem; });
  }
}

}  // namespace

Planning plan_of(const JobSet& set) {
  Planner planner(set);
  Planning planning{.jobs = {}, .problems = planner.problems()};
  planning.jobs = std::move(planner).plan();
  if (debugs(Debug::plan)) tell(planning);
  return planning;
}

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

}  // namespace shmif::perf
