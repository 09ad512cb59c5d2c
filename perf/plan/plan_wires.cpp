// Which jobs share a medium, the properties of that medium, which files a run reads and writes, and
// whether two jobs write one file.

#include <algorithm>
#include <filesystem>
#include <map>
#include <string_view>

#include "base/nearest.hpp"
#include "bus/file/output_file.hpp"
#include "perf/plan/planner.hpp"
#include "shmif/mac.hpp"

namespace shmif::perf {
namespace {

/// The value that was given for the option `name`; null: it was not given.
const std::string* given(const JobOptions& job, const char* name) {
  const auto it = std::find_if(job.given.rbegin(), job.given.rend(),
                               [&](const auto& option) { return option.first == name; });
  return it == job.given.rend() ? nullptr : &it->second;
}

}  // namespace

std::string wire_key(const PlannedJob& job) {
  return std::string(name_of(job.options.engine)) + '\0' + job.options.bus + '\0' +
         job.options.wire + '\0' + job.options.netdev + '\0' + job.options.socket + '\0' +
         job.options.filename + '\0' + job.options.server;
}

/// Wires with room for one or two jobs become one for each job or pair, named after its first job.
void Planner::name_wires() {
  std::vector<std::size_t> partner(plan_.size(), kNoJob);
  const auto has_room = [&](std::size_t i) {
    return engine_of(plan_[i].options.engine).capabilities.max_ends == 0;
  };
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    const std::size_t to = plan_[i].to;
    if (has_room(i) || to == kNoJob || to == i) continue;
    if ((partner[to] != kNoJob && partner[to] != i) || (partner[i] != kNoJob && partner[i] != to)) {
      problem(
          plan_[i].options,
          std::string("to: engine=") + name_of(plan_[i].options.engine) +
              " connects only two jobs, and \"" + plan_[to].options.name +
              "\" already has another partner (give each job its own partner, or use engine=bus)");
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

/// Gives all `jobs` the value that one of them was given. Different values are a problem.
template <class T>
void Planner::agree(const std::vector<std::size_t>& jobs, const char* name,
                    T JobOptions::* member) {
  const PlannedJob* first = nullptr;
  for (const std::size_t i : jobs) {
    const JobOptions& job = plan_[i].options;
    const std::string* const value = given(job, name);
    if (value == nullptr) continue;
    if (first == nullptr) {
      first = &plan_[i];
    } else if (job.*member != first->options.*member) {
      return problem(job, std::string(name) + ": is \"" + *value + "\" here and \"" +
                              *given(first->options, name) + "\" for job \"" + first->options.name +
                              "\", which is on the same wire (give both the same, or, if no 'to' "
                              "connects them, a 'wire' for each)");
    }
  }
  if (first == nullptr) return;
  const T value = first->options.*member;
  for (const std::size_t i : jobs) plan_[i].options.*member = value;
}

/// On a bus, a hostname is the address of one port.
void Planner::differ_in_address(const std::vector<std::size_t>& jobs) {
  std::map<MacAddress, std::string> owners;
  for (const std::size_t i : jobs) {
    const JobOptions& job = plan_[i].options;
    const auto mac = MacAddress::parse(job.hostname);
    if (!mac || (job.rw != Role::rx && job.rw != Role::echo)) continue;
    const auto [owner, is_new] = owners.emplace(*mac, job.name);
    if (is_new) continue;
    problem(job, "hostname: job \"" + owner->second + "\" has the address " + job.hostname +
                     ", too (give each its own)");
  }
}

/// Where several jobs send as fast as they can, receivers wait for a CPU. The ring holds what is
/// sent meanwhile.
void Planner::size_ring(const std::vector<std::size_t>& jobs) {
  constexpr std::uint64_t kForMany = 32U << 20U;
  agree(jobs, "bus_size", &JobOptions::bus_size_bytes);
  std::size_t floods = 0;
  for (const std::size_t i : jobs) {
    const JobOptions& job = plan_[i].options;
    if (given(job, "bus_size") != nullptr) return;
    const bool floods_it = (job.rw == Role::tx || job.rw == Role::txrx) && !is_paced(job) &&
                           job.replay.empty() && job.engine == EngineKind::bus;
    floods += floods_it ? 1 : 0;
  }
  if (floods < 2) return;
  for (const std::size_t i : jobs) plan_[i].options.bus_size_bytes = kForMany;
}

/// A wire is made once, for all jobs on it.
void Planner::agree_on_wires() {
  std::map<std::string, std::vector<std::size_t>> wires;
  for (std::size_t i = 0; i < plan_.size(); ++i) wires[wire_key(plan_[i])].push_back(i);
  for (const auto& [key, jobs] : wires) {
    agree(jobs, "mtu", &JobOptions::mtu);
    size_ring(jobs);
    agree(jobs, "bus_pause", &JobOptions::bus_pause);
    agree(jobs, "netns", &JobOptions::netns);
    if (plan_[jobs.front()].options.engine == EngineKind::bus) {
      differ_in_address(jobs);
    } else {
      agree(jobs, "hostname", &JobOptions::hostname);
    }
    agree(jobs, "port", &JobOptions::port);
    // All of them must allow the effect of their frames on others.
    const bool allowed = std::all_of(jobs.begin(), jobs.end(),
                                     [&](std::size_t i) { return plan_[i].options.allow_live; });
    for (const std::size_t i : jobs) plan_[i].options.allow_live = allowed;
  }
}

bool writes_capture(const JobOptions& job) noexcept {
  return job.engine == EngineKind::pcap && job.rw == Role::tx;
}

namespace {

bool leads_to_one_file(const std::string& left, const std::string& right) {
  const auto normal = [](const std::string& path) {
    std::error_code none;
    return std::filesystem::absolute(path, none).lexically_normal();
  };
  return normal(left) == normal(right) || bus::is_same_file(left, right);
}

}  // namespace

/// A file that two write, or that one reads and another one writes, would be useless, so this is a
/// problem.
void Planner::check_files(const RunOptions& run) {
  const std::vector<std::string> inputs = inputs_of(plan_, run);
  std::map<std::string, std::string> writers;
  const auto check = [&](const JobOptions& job, const std::string& who, const std::string& option,
                         const std::string& path) {
    if (path.empty()) return;
    const auto refuse = [&](const std::string& why, const char* remedy) {
      std::string text = option;
      text.append(": \"").append(path).append("\" is ").append(why);
      text.append(" (").append(remedy).append(")");
      problem(job, text);
    };
    for (const std::string& input : inputs) {
      if (!leads_to_one_file(path, input)) continue;
      return refuse("read by this run, as \"" + input + '"', "name another file");
    }
    for (const auto& [other, writer] : writers) {
      if (!leads_to_one_file(path, other)) continue;
      return refuse("already written by " + writer, "give each its own file");
    }
    writers.emplace(path, who);
  };
  for (const PlannedJob& job : plan_) {
    const std::string who = "job \"" + job.options.name + '"';
    check(job.options, who, "write_pcap", job.options.write_pcap);
    if (writes_capture(job.options)) check(job.options, who, "filename", job.options.filename);
  }
  for (const OutputPlace& place : run.outputs) {
    if (place.path == "-") continue;
    check({}, "the result", "output", place.path);
    writers.erase(place.path);  // outputs are compared with each other where they are read
  }
}

namespace {

/// A file name without slashes, whatever the job's name is.
std::string as_file_name(std::string name) {
  std::replace(name.begin(), name.end(), '/', '_');
  return name;
}

}  // namespace

std::vector<std::string> inputs_of(std::span<const PlannedJob> plan, const RunOptions& run) {
  std::vector<std::string> inputs = run.job_files;
  for (const PlannedJob& job : plan) {
    const JobOptions& o = job.options;
    inputs.push_back(o.replay);
    inputs.push_back(o.verify_state_load);
    if (o.engine == EngineKind::pcap && o.rw == Role::rx) inputs.push_back(o.filename);
    constexpr std::string_view kFromCapture = "pcap(";
    if (o.headers.starts_with(kFromCapture)) {
      inputs.push_back(o.headers.substr(kFromCapture.size(),
                                        o.headers.find_first_of(",)") - kFromCapture.size()));
    }
  }
  std::erase_if(inputs, [](const std::string& path) { return path.empty() || path == "-"; });
  return inputs;
}

std::string log_path(const RunOptions& run, const std::string& prefix, const char* kind,
                     const JobOptions& job) {
  const bool relative = !prefix.starts_with('/') && !run.aux_path.empty();
  const std::string own = job.per_job_logs ? '.' + as_file_name(job.name) : "";
  return (relative ? run.aux_path + '/' : "") + prefix + '_' + kind + own + ".log";
}

std::vector<std::string> outputs_of(std::span<const PlannedJob> plan, const RunOptions& run) {
  std::vector<std::string> outputs;
  for (const PlannedJob& job : plan) {
    const JobOptions& o = job.options;
    if (writes_capture(o)) outputs.push_back(o.filename);
    outputs.push_back(o.write_pcap);
    if (!job.peer_of.empty()) continue;  // its logs are those of the job it was made for
    for (const auto& [prefix, kind] : {std::pair(&o.write_bw_log, kBandwidthLog),
                                       {&o.write_iops_log, kRateLog},
                                       {&o.write_lat_log, kLatencyLog},
                                       {&o.write_hist_log, kHistogramLog}}) {
      if (prefix->empty()) continue;
      const std::string path = log_path(run, *prefix, kind, o);
      if (!o.per_job_logs && std::ranges::find(outputs, path) != outputs.end()) continue;
      outputs.push_back(path);
    }
  }
  std::erase_if(outputs, [](const std::string& path) { return path.empty() || path == "-"; });
  return outputs;
}

// Who sends to whom, and who waits for whom: stonewalls, wait_for, and cycles.

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
    if (job.to == kNoJob || job.clone != 0) continue;
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
