// Which jobs share a medium, the properties of that medium, which files a run reads and writes, and
// whether two jobs write one file.

#include <algorithm>
#include <filesystem>
#include <map>
#include <string_view>

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

}  // namespace shmif::perf
