// Which files a run reads, and which it writes.

#include <algorithm>
#include <string_view>

#include "perf/plan/plan.hpp"
#include "perf/plan/planner.hpp"

namespace shmif::perf {
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
