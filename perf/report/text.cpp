#include "perf/report/report.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.hpp"
#include "perf/job/values.hpp"
#include "perf/report/fields.hpp"
#include "perf/report/table.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {

std::vector<Unit> units_of(const ReportJson& report) {
  std::vector<Unit> units;
  std::map<std::string, std::size_t> owners;  // by name: where in `units`
  for (const ReportJson& job : report.at("jobs")) {
    const auto owner = owners.find(name_in(job, "peer_of"));
    if (owner != owners.end() && !owner->first.empty()) {
      units[owner->second].peers.push_back(&job);
      continue;
    }
    owners.emplace(name_in(job, "jobname"), units.size());
    units.push_back({&job, {}});
  }
  return units;
}

bool is_left_to_its_group(const Unit& unit) {
  const ReportJson& options = unit.job->at("options");
  const auto wish = options.find("group_reporting");
  const auto wanted =
      wish == options.end() ? Result<bool>(false) : parse_boolean(wish->get<std::string>());
  return wanted && *wanted;
}

std::uint64_t lost_frames(const ReportJson& report) {
  std::uint64_t lost = 0;
  for (const ReportJson& job : report.at("jobs")) {
    if (!job.at("loss").is_null()) lost += count(job.at("loss"), "lost_frames").value_or(0);
  }
  return lost;
}

/// Names frames that the queue of a fault dropped separately, because the user did not ask for this
/// loss.
std::string blame_for(const ReportJson& report, std::uint64_t lost) {
  const auto sum_of_links = [&report](std::initializer_list<const char*> keys) {
    std::uint64_t sum = 0;
    for (const ReportJson& link : report.at("links")) {
      for (const char* key : keys) {
        if (link.contains(key)) sum += count(link, key).value_or(0);
      }
    }
    return sum;
  };
  const std::uint64_t asked_for = sum_of_links({"lost_frames", "under_way_frames"});
  const std::uint64_t queue = sum_of_links({"queue_full_frames"});
  if (lost == 0 && !report.at("links").empty()) return " under the requested faults";
  if (lost == 0 || (asked_for == 0 && queue == 0)) return "";
  const std::string by_queue = "by the full queue of a fault";
  if (asked_for == 0) {
    return (queue >= lost ? " " : ", no more than " + format_count(queue) + " of them ") + by_queue;
  }
  if (queue == 0) {
    return (asked_for >= lost ? " " : ", no more than " + format_count(asked_for) + " of them ") +
           "by the requested faults";
  }
  return ", no more than " + format_count(asked_for) + " of them by the requested faults and " +
         format_count(queue) + ' ' + by_queue;
}

std::string stopped_text(const ReportJson& report) {
  const ReportJson& signal = report.at("stopped_by_signal");
  return signal.is_null() ? "" : "stopped by " + word_of_signal(signal.get<int>());
}

/// A run that was stopped without failures is not shown as failed.
std::string verdict_of(const ReportJson& report) {
  if (report.at("passed").get<bool>()) return "passed";
  const std::string stopped = stopped_text(report);
  return report.at("failures").empty() && !stopped.empty() ? stopped : "FAILED";
}

std::string losses_text(const nlohmann::json& report) {
  const std::uint64_t lost = lost_frames(report);
  if (lost == 0) return "";
  return ", " + format_counted(lost, "frame") + " lost" + blame_for(report, lost);
}

std::size_t failed_servers(const nlohmann::json& result) {
  const bool stopped = !result.at("stopped_by_signal").is_null();
  const ReportJson& failures = result.at("failures");
  const auto failed = [&](const ReportJson& host) {
    if (host.at("passed").get<bool>()) return false;
    if (!host.at("failures").empty()) return true;
    if (host.at("time").is_null()) return false;  // others kept it from running its jobs
    if (!stopped) return true;
    const std::string prefix = name_in(host, "hostname") + ": ";
    return std::ranges::any_of(failures, [&](const ReportJson& failure) {
      return failure.get<std::string>().starts_with(prefix);
    });
  };
  return static_cast<std::size_t>(std::ranges::count_if(result.at("hosts"), failed));
}

std::string repetitions_text(const ReportJson& report, std::size_t width) {
  if (report.at("repeats").empty()) return "";
  std::size_t runs = 0;
  for (const ReportJson& r : report.at("repeats")) runs = std::max(runs, r.at("values").size());
  const auto shown = report.find("shown_run");
  const bool known = shown != report.end() && !shown->is_null();
  return wrapped(
      "  " + format_count(runs) +
          " runs: rates, shares and times below are medians of all runs, and counts are those of " +
          (known ? "run " + format_count(shown->get<std::uint64_t>()) : "one run") +
          "; \"repetitions\" shows the spread",
      width, 2);
}

namespace {

enum class Problems : std::uint8_t { skipped_frames, others };

/// "loss      voip: 12 lost ..."
void add_problems(const ReportJson& job, Problems wanted, std::vector<std::string>& into) {
  for (const ReportJson& problem : job.at("problems")) {
    std::string of = words(problem, "kind");
    if ((of == "skipped") != (wanted == Problems::skipped_frames)) continue;
    of.resize(std::max<std::size_t>(of.size(), 8), ' ');
    into.push_back(of + "  " + words(job, "jobname") + ": " + words(problem, "text"));
  }
}

/// The first lines, and the number of the rest.
std::string at_most(const std::vector<std::string>& lines, std::size_t width) {
  constexpr std::size_t kMax = 50;
  std::string text;
  for (std::size_t i = 0; i < lines.size() && i < kMax; ++i) {
    text += wrapped("  " + lines[i], width, 12);
  }
  if (lines.size() <= kMax) return text;
  return text + "  ... and " + format_count(lines.size() - kMax) + " more: --output-format=json\n";
}

std::string problems_text(const ReportJson& report, std::size_t width) {
  std::vector<std::string> problems;
  for (const ReportJson& failure : report.at("failures")) {
    problems.push_back("FAILED    " + printable(failure.get<std::string>()));
  }
  // Skipped frames come last: they were offered but not sent, so they were not lost.
  for (const Problems wanted : {Problems::others, Problems::skipped_frames}) {
    for (const ReportJson& job : report.at("jobs")) {
      add_problems(job, wanted, problems);
    }
  }
  std::vector<std::string> warnings;
  for (const ReportJson& warning : report.at("warnings")) {
    warnings.push_back("warning   " + printable(warning.get<std::string>()));
  }
  if (problems.empty() && warnings.empty()) return "";
  return at_most(problems, width) + at_most(warnings, width) + '\n';
}

/// The command line, quoted for a shell.
std::string command_text(const ReportJson& command) {
  std::string out;
  for (const ReportJson& argument : command) {
    out += (out.empty() ? "" : " ") + base::quote_word(printable(argument.get<std::string>()));
  }
  return out;
}

std::string head_text(const ReportJson& report, std::size_t width) {
  const ReportJson& time = report.at("time");
  const std::string how = verdict_of(report);
  const std::string stopped = stopped_text(report);
  std::string out = "shmifperf " + words(report, "shmifperf_version") + ": " + how +
                    losses_text(report) + " (exit code " + report.at("exit_code").dump() +
                    "), began " + words(time, "began") + ", took " +
                    format_seconds(figure(time, "seconds"));
  if (!stopped.empty() && how != stopped) out += ", " + stopped;
  out = wrapped(out, width, 2);
  const std::string command = command_text(report.at("command"));
  if (!command.empty()) out += "  " + command + '\n';
  if (!report.at("steady_state").is_null()) {
    out += wrapped("  steady state " + words(report, "steady_state"), width, 4);
  }
  return out + repetitions_text(report, width) + '\n';
}

/// Whether the job has problems other than skipped frames.
bool is_troubled(const Unit& unit) {
  const auto troubled = [](const ReportJson* job) {
    std::vector<std::string> problems;
    add_problems(*job, Problems::others, problems);
    return !job->at("passed").get<bool>() || !problems.empty();
  };
  return troubled(unit.job) || std::any_of(unit.peers.begin(), unit.peers.end(), troubled);
}

/// Groups with several units, and groups that report for their jobs. Figures of other groups would
/// repeat those of their one job.
std::set<std::string> groups_to_show(const std::vector<Unit>& units) {
  std::set<std::string> seen;
  std::set<std::string> names;
  for (const Unit& unit : units) {
    const std::string name = name_in(*unit.job, "groupname");
    if (!seen.insert(name).second || is_left_to_its_group(unit)) names.insert(name);
  }
  return names;
}

/// Few jobs have a block each. Many jobs have a line each, except those that only their group
/// reports (group_reporting); the first jobs with problems also have blocks.
std::string units_text(const ReportJson& report, const std::vector<Unit>& units, bool listed,
                       std::size_t width) {
  constexpr std::size_t kMaxBlocks = 4;
  std::vector<Unit> single;
  for (const Unit& unit : units) {
    if (!is_left_to_its_group(unit)) single.push_back(unit);
  }
  const bool many = single.size() > kMaxBlocks;
  std::string out = many && !listed ? jobs_text(single, requests_of(report), width) : "";
  std::size_t blocks = 0;
  for (const Unit& unit : units) {
    const bool wanted = !many && !is_left_to_its_group(unit);
    if (!wanted && (blocks >= kMaxBlocks || !is_troubled(unit))) continue;
    out += unit_text(unit, width);
    ++blocks;
  }
  return out;
}

}  // namespace

std::string to_text(const Report& report, std::size_t width) {
  const ReportJson& json = report.json();
  const std::vector<Unit> units = units_of(json);
  const std::set<std::string> groups = groups_to_show(units);
  bool listed = false;
  // First, because it sets `listed`.
  const std::string engines = engines_text(json, listed, width);
  std::string out = head_text(json, width) + problems_text(json, width) + engines +
                    searches_text(json, width) + shown_trials_text(json, width) +
                    repeats_text(json, width) + units_text(json, units, listed, width);
  for (const ReportJson& group : json.at("groups")) {
    if (groups.contains(name_in(group, "groupname"))) out += group_text(group, width);
  }
  return out + memory_text(json, width) + heat_text(json, width) + links_text(json, width) +
         machine_text(json, width) + causes_text(json, width);
}

// ---- A line per job, for scripts ----

namespace {

std::string field(const ReportJson& value) {
  if (value.is_null()) return {};
  if (!value.is_string()) return value.dump();
  std::string text = printable(value.get<std::string>());
  std::replace(text.begin(), text.end(), ';', '_');
  return text;
}

/// The fields of docs/shmifperf-terse.md, as places in a job: the name of an object and a key in
/// it, or a key of the job.
struct Place {
  const char* object;
  const char* key;
};
constexpr Place kPlaces[] = {
    {nullptr, "jobname"},
    {nullptr, "groupname"},
    {nullptr, "rw"},
    {nullptr, "engine"},
    {nullptr, "passed"},
    {nullptr, "error"},
    {nullptr, "runtime_seconds"},
    {"tx", "frames"},
    {"tx", "bytes"},
    {"tx", "seconds"},
    {"tx", "rate_fps"},
    {"tx", "rate_bps"},
    {"tx", "offered_fps"},
    {"tx", "offered_bps"},
    {"tx", "refused_frames"},
    {"tx", "skipped_frames"},
    {"rx", "frames"},
    {"rx", "bytes"},
    {"rx", "seconds"},
    {"rx", "rate_fps"},
    {"rx", "rate_bps"},
    {"rx", "foreign_frames"},
    {"loss", "sent_frames"},
    {"loss", "received_frames"},
    {"loss", "lost_frames"},
    {"loss", "duplicate_frames"},
    {"loss", "reordered_frames"},
    {"loss", "corrupt_frames"},
    {"loss", "truncated_frames"},
    {"loss", "late_frames"},
    {"loss", "jitter_ns"},
    {nullptr, "overruns"},
    {nullptr, "overrun_frames"},
    {"latency_ns", "min"},
    {"latency_ns", "mean"},
    {"latency_ns", "p50"},
    {"latency_ns", "p90"},
    {"latency_ns", "p99"},
    {"latency_ns", "p99_9"},
    {"latency_ns", "p99_99"},
    {"latency_ns", "p99_999"},
    {"latency_ns", "max"},
    {"service_ns", "p50"},
    {"service_ns", "p99"},
    {"service_ns", "max"},
    {"spacing_error_ns", "p50"},
    {"spacing_error_ns", "p99"},
    {"spacing_error_ns", "max"},
    {"cpu", "user_seconds"},
    {"cpu", "system_seconds"},
    {"cpu", "frames_per_busy_second"},
    {"counts", "agree"},
    {nullptr, "start_skew_ns"},
    {nullptr, "limit_fps"},
};

std::string line_of(const ReportJson& report, const ReportJson& job) {
  std::string line = std::to_string(kTerseVersion) + ';' + field(report.at("shmifperf_version"));
  for (const Place& place : kPlaces) {
    const ReportJson& object = place.object == nullptr ? job : job.at(place.object);
    line += ';' + (object.is_null() ? std::string() : field(object.at(place.key)));
  }
  return line + '\n';
}

}  // namespace

std::string to_terse(const Report& report) {
  std::string out;
  for (const ReportJson& job : report.json().at("jobs")) out += line_of(report.json(), job);
  return out;
}

}  // namespace shmif::perf
