#include "perf/report/stream.hpp"

#include <nlohmann/json.hpp>
#include <utility>

#include "perf/report/json_values.hpp"
#include "perf/report/progress_lines.hpp"
#include "perf/report/table.hpp"
#include "perf/report/units.hpp"
#include "perf/report/words.hpp"

namespace shmif::perf {

namespace {

using Json = nlohmann::ordered_json;

/// Every figure of an interval; null if it is missing.
Json figures(const IntervalResult& i) {
  return {{"at_seconds", json_number(i.at_seconds)},
          {"seconds", json_number(i.seconds)},
          {"tx_frames", i.tx_frames},
          {"tx_bytes", i.tx_bytes},
          {"tx_fps", json_number(per_second(i.tx_frames, i))},
          {"tx_bps", json_number(per_second(i.tx_bytes * 8, i))},
          {"rx_frames", i.rx_frames},
          {"rx_bytes", i.rx_bytes},
          {"rx_fps", json_number(per_second(i.rx_frames, i))},
          {"rx_bps", json_number(per_second(i.rx_bytes * 8, i))},
          {"lost_frames", i.lost_frames},
          {"overruns", i.overruns},
          {"latency_mean_ns", json_number(i.latency_mean_ns)},
          {"latency_p50_ns", json_number(i.latency_p50_ns)},
          {"latency_p99_ns", json_number(i.latency_p99_ns)},
          {"latency_max_ns", json_number(i.latency_max_ns)},
          {"cpu_user_share", json_number(share_of_cpu(i.cpu_user_seconds, i))},
          {"cpu_system_share", json_number(share_of_cpu(i.cpu_system_seconds, i))}};
}

Json job_json(const JobProgress& job) {
  Json interval = figures(job.last);
  if (job.last.tcp) interval["tcp"] = tcp_sample_json(*job.last.tcp);
  return {{"jobname", job.name},
          {"groupname", job.group},
          {"state", name_of(job.state)},
          {"failed", job.failed},
          {"tx_frames", job.tx_frames},
          {"tx_bytes", job.tx_bytes},
          {"rx_frames", job.rx_frames},
          {"rx_bytes", job.rx_bytes},
          {"lost_frames", job.lost_frames},
          {"interval", std::move(interval)}};
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

std::optional<double> per_second(std::uint64_t count, const IntervalResult& interval) {
  if (!(interval.seconds > 0)) return std::nullopt;
  return static_cast<double>(count) / interval.seconds;
}

std::optional<double> share_of_cpu(const std::optional<double>& seconds,
                                   const IntervalResult& interval) {
  if (!seconds || !(interval.seconds > 0)) return std::nullopt;
  return *seconds / interval.seconds;
}

std::optional<double> cpu_share(const IntervalResult& interval) {
  const auto user = share_of_cpu(interval.cpu_user_seconds, interval);
  const auto system = share_of_cpu(interval.cpu_system_seconds, interval);
  return user && system ? std::optional(*user + *system) : std::nullopt;
}

std::string to_json_line(const RunProgress& progress) {
  Json json = {{"at_seconds", json_number(progress.at_seconds)},
               {"share", json_number(progress.share)},
               {"left_seconds", json_number(progress.left_seconds)}};
  Json& jobs = json["jobs"] = Json::array();
  for (const JobProgress& job : progress.jobs) jobs.push_back(job_json(job));
  return json.dump(-1, ' ', true, Json::error_handler_t::replace) + '\n';
}

std::string to_influx(const RunProgress& progress, std::chrono::system_clock::time_point when) {
  const auto ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(when.time_since_epoch()).count();
  std::string out;
  for (const JobProgress& job : progress.jobs) {
    std::string text = fields(figures(job.last));
    text += fields({{"state", name_of(job.state)},
                    {"failed", job.failed},
                    {"all_tx_frames", job.tx_frames},
                    {"all_tx_bytes", job.tx_bytes},
                    {"all_rx_frames", job.rx_frames},
                    {"all_rx_bytes", job.rx_bytes},
                    {"all_lost_frames", job.lost_frames}});
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
