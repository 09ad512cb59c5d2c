#include "perf/report/stream.hpp"

#include <nlohmann/json.hpp>
#include <utility>

#include "perf/report/figure_json.hpp"
#include "perf/report/progress_lines.hpp"
#include "perf/report/table.hpp"
#include "perf/report/units.hpp"
#include "perf/report/words.hpp"

namespace shmif::perf {

namespace {

using Json = nlohmann::ordered_json;

Json job_json(const JobProgress& job) {
  Json json;
  put_figures(json, job, kInStream);
  json["state"] = name_of(job.state);
  Json& interval = json["interval"];
  put_figures(interval, job.last, kInStream);
  if (job.last.tcp) put_figures(interval["tcp"], *job.last.tcp, kInStream);
  return json;
}

/// The value of a tag. Characters that end it are escaped. A line break would end the line, and a
/// final backslash would escape what follows.
std::string tag(const std::string& value) {
  std::string out;
  for (const char c : printable(value)) {
    if (c == ',' || c == '=' || c == ' ') out += '\\';
    out += c == '\\' ? '/' : c;
  }
  return out.empty() ? "-" : out;
}

/// ",key=value" for each figure that is not null; integers end in "i".
std::string fields(const Json& of) {
  std::string out;
  for (const auto& [key, value] : of.items()) {
    if (value.is_null() || value.is_structured()) continue;
    out += ',' + key + '=' + value.dump() + (value.is_number_integer() ? "i" : "");
  }
  return out;
}

}  // namespace

std::optional<double> cpu_share(const IntervalResult& interval) {
  const auto user = share_of_cpu(interval.cpu_user_seconds, interval);
  const auto system = share_of_cpu(interval.cpu_system_seconds, interval);
  return user && system ? std::optional(*user + *system) : std::nullopt;
}

std::string to_json_line(const RunProgress& progress) {
  Json json;
  put_figures(json, progress, kInStream);
  Json& jobs = json["jobs"] = Json::array();
  for (const JobProgress& job : progress.jobs) jobs.push_back(job_json(job));
  return json.dump(-1, ' ', true, Json::error_handler_t::replace) + '\n';
}

std::string to_influx(const RunProgress& progress, std::chrono::system_clock::time_point when) {
  const auto ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(when.time_since_epoch()).count();
  std::string out;
  for (const JobProgress& job : progress.jobs) {
    Json json;
    put_figures(json, job.last, kInStream);
    json["state"] = name_of(job.state);
    json["failed"] = job.failed;
    for (const Figure<JobProgress>& row : kRowsOf<JobProgress>) {  // the counts since the start
      const Json value = json_of_figure<Json>(row, job);
      if (row.is_in(kInStream) && value.is_number()) json["all_" + std::string(row.key)] = value;
    }
    std::string text = fields(json);
    text[0] = ' ';  // end of the tags
    out += "shmifperf,groupname=" + tag(job.group) + ",jobname=" + tag(job.name) + text + ' ' +
           std::to_string(ns) + '\n';
  }
  return out;
}

std::string to_status(const RunProgress& progress, std::size_t width) {
  std::string out = "status after " + format_seconds(progress.at_seconds);
  if (progress.share) out += ", " + format_per_cent(*progress.share);
  if (progress.left_seconds) out += ", eta " + format_eta(*progress.left_seconds);
  Table table;
  table.add({"job", "state", "sent", "now", "", "received", "now", "", "lost", "p50", "p99", "max",
             "CPU"});
  for (const JobProgress& job : progress.jobs) {
    const IntervalResult& i = job.last;
    const bool sends = job.tx_frames != 0;
    const bool receives = job.rx_frames != 0;
    table.add({printable(job.name), job.failed ? "FAILED" : name_of(job.state),
               sends ? format_count(job.tx_frames) : "-",
               format_fps(sends ? per_second(i.tx_frames, i) : std::nullopt),
               format_bps(sends ? per_second(i.tx_bytes * 8, i) : std::nullopt),
               receives ? format_count(job.rx_frames) : "-",
               format_fps(receives ? per_second(i.rx_frames, i) : std::nullopt),
               format_bps(receives ? per_second(i.rx_bytes * 8, i) : std::nullopt),
               receives ? format_count(job.lost_frames) : "-", format_ns(i.latency_p50_ns),
               format_ns(i.latency_p99_ns), format_ns(i.latency_max_ns), format_cpu(cpu_share(i))});
  }
  return out + '\n' + table.text(width);
}

}  // namespace shmif::perf
