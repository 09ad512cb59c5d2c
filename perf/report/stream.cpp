#include "perf/report/stream.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "perf/report/json_figures.hpp"
#include "perf/report/table.hpp"
#include "perf/result/run_result.hpp"

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

namespace {

constexpr double kRateSeconds = 1;

/// The jobs of one group, in order.
struct Group {
  std::string name;
  std::vector<const JobProgress*> jobs;
};

std::vector<Group> groups_of(const RunProgress& progress) {
  std::vector<Group> groups;
  for (const JobProgress& job : progress.jobs) {
    auto it = std::find_if(groups.begin(), groups.end(),
                           [&](const Group& group) { return group.name == job.group; });
    if (it == groups.end()) it = groups.insert(it, {job.group, {}});
    it->jobs.push_back(&job);
  }
  return groups;
}

bool is_over(const JobProgress& job) {
  return job.state == JobState::reaped;
}

bool over(const Group& group) {
  return std::all_of(group.jobs.begin(), group.jobs.end(),
                     [](const JobProgress* job) { return job->state == JobState::reaped; });
}

/// "45 %", "done", "FAILED"; for the job that is furthest from its end.
std::string share_text(const Group& group) {
  std::optional<double> share;
  for (const JobProgress* job : group.jobs) {
    if (job->failed) return "FAILED";
    if (job->share) share = std::min(share.value_or(1), *job->share);
  }
  if (over(group)) return "done";
  return share ? format_per_cent(*share) : "";
}

std::string eta_text(const Group& group) {
  if (over(group)) return "";
  std::optional<double> left;
  for (const JobProgress* job : group.jobs) {
    if (job->left_seconds) left = std::max(left.value_or(0), *job->left_seconds);
  }
  return left ? "eta " + format_eta(*left) : "";
}

/// Shortens a name so that the figures fit on a line of 80 columns.
std::string short_name(std::string name) {
  constexpr std::size_t kLongest = 12;
  if (name.size() <= kLongest) return name;
  std::size_t end = kLongest - 1;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0U) == 0x80U) --end;  // UTF-8
  return name.substr(0, end) + '~';
}

std::string two_digits(long number) {
  return (number < 10 ? "0" : "") + std::to_string(number);
}

}  // namespace

std::string format_per_cent(double share) {
  return std::to_string(static_cast<int>(std::floor(std::clamp(share, 0.0, 1.0) * 100))) + " %";
}

std::string format_cpu(std::optional<double> share) {
  if (!share) return "-";
  return std::to_string(std::lround(std::clamp(*share, 0.0, 1e6) * 100)) + " %";
}

std::string format_eta(double seconds) {
  const long all = std::lround(std::ceil(std::clamp(seconds, 0.0, 1e9)));
  if (all < 60) return std::to_string(all) + 's';
  if (all < 3600) return std::to_string(all / 60) + 'm' + two_digits(all % 60) + 's';
  return std::to_string(all / 3600) + 'h' + two_digits(all / 60 % 60) + 'm';
}

std::string format_states(const std::vector<JobState>& states) {
  std::string out;
  for (std::size_t i = 0; i < states.size();) {
    std::size_t end = i;
    while (end < states.size() && states[end] == states[i]) ++end;
    const char letter = letter_of(states[i]);
    const std::size_t alike = end - i;
    out += alike < 4 ? std::string(alike, letter) : letter + ('(' + std::to_string(alike) + ')');
    i = end;
  }
  return out;
}

std::vector<std::string> ProgressLines::lines(const RunProgress& progress) {
  const std::vector<Group> groups = groups_of(progress);
  // The next run of a campaign starts again from 0.
  if (!moments_.empty() && moments_.back().at_seconds > progress.at_seconds) moments_.clear();
  Moment& now = moments_.emplace_back(Moment{progress.at_seconds, {}});
  for (const JobProgress& job : progress.jobs) {
    Sums& sums = now.groups[job.group];
    sums.tx_frames += job.tx_frames;
    sums.tx_bytes += job.tx_bytes;
    sums.rx_frames += job.rx_frames;
    sums.rx_bytes += job.rx_bytes;
  }
  while (moments_.size() > 2 && moments_[1].at_seconds <= now.at_seconds - kRateSeconds) {
    moments_.pop_front();
  }
  const Moment& before = moments_.front();
  const double seconds = now.at_seconds - before.at_seconds;
  Table table(0);
  for (const Group& group : groups) {
    const Sums& last = now.groups.at(group.name);
    const auto first = before.groups.find(group.name);
    const auto rate = [&](std::uint64_t Sums::* key) -> std::optional<double> {
      if (seconds <= 0 || first == before.groups.end()) return std::nullopt;
      return static_cast<double>(last.*key - std::min(first->second.*key, last.*key)) / seconds;
    };
    const auto bits = [&](std::uint64_t Sums::* key) {
      const auto bytes = rate(key);
      return bytes ? std::optional(*bytes * 8) : bytes;
    };
    std::vector<JobState> states;
    std::uint64_t lost = 0;
    std::optional<double> cpu;
    for (const JobProgress* job : group.jobs) {
      states.push_back(job->state);
      lost += job->lost_frames;
      const auto share = cpu_share(job->last);
      if (share && !is_over(*job)) cpu = cpu.value_or(0) + *share;
    }
    // A narrow terminal cuts off the last columns.
    table.add({short_name(printable(group.name)), '[' + format_states(states) + ']',
               share_text(group), eta_text(group), "lost " + format_count(lost),
               "tx " + format_fps(rate(&Sums::tx_frames)),
               "rx " + format_fps(rate(&Sums::rx_frames)), format_bps(bits(&Sums::tx_bytes)),
               format_bps(bits(&Sums::rx_bytes)), "cpu " + format_cpu(cpu)});
  }
  std::vector<std::string> out;
  const std::string text = table.text();
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

}  // namespace shmif::perf
