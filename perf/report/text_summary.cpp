// The summary of a run: what its user wants to know first, in about eight lines.

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <tuple>
#include <type_traits>

#include "perf/report/fields.hpp"
#include "perf/report/problems.hpp"
#include "perf/report/report.hpp"
#include "perf/report/table.hpp"
#include "perf/stats/confidence.hpp"

namespace shmif::perf {
namespace {

// ---- The table of jobs ----

/// A line of the table of jobs: a job with its peers, or a group that reports for its jobs. Figures
/// that were not measured are empty.
struct SummaryRow {
  std::string name, role;
  bool passed = true;
  std::optional<std::uint64_t> frames{}, lost{};
  std::optional<double> fps{}, bps{}, lost_share{}, p50{}, p99{};
};

template <class Value>
void add_to(std::optional<Value>& sum, std::optional<Value> value) {
  if (value) sum = sum.value_or(0) + *value;
}

/// The latencies of the slower direction, if there are two.
void put_latency(SummaryRow& row, const ReportJson& latency) {
  if (latency.is_null()) return;
  const auto p99 = figure(latency, "p99");
  if (row.p99 && p99 <= row.p99) return;
  row.p50 = figure(latency, "p50");
  row.p99 = p99;
}

void put_traffic(SummaryRow& row, const ReportJson& traffic) {
  row.frames = row.frames.value_or(0) + count(traffic, "frames").value_or(0);
  add_to(row.fps, figure(traffic, "rate_fps"));
  add_to(row.bps, figure(traffic, "rate_bps"));
}

bool has_frames(const ReportJson& traffic) {
  return !traffic.is_null() && count(traffic, "frames").value_or(0) != 0;
}

SummaryRow row_of(const Unit& unit, const Requests& requests) {
  std::vector<const ReportJson*> jobs{unit.job};
  jobs.insert(jobs.end(), unit.peers.begin(), unit.peers.end());
  SummaryRow row{.name = words(*unit.job, "jobname"), .role = words(*unit.job, "rw")};
  const bool asks = row.role == "pingpong";
  std::vector<const ReportJson*> received;
  for (const ReportJson* const job : jobs) {
    row.passed = row.passed && job->at("passed").get<bool>();
    put_latency(row, job->at("latency_ns"));
    // An answer counts only once, at the job that receives it.
    if (!job->at("rx").is_null() && (!asks || job == unit.job)) received.push_back(&job->at("rx"));
  }
  const ReportJson& sent = unit.job->at("tx");
  const bool arrived =
      std::ranges::any_of(jobs, [](const ReportJson* job) { return !job->at("loss").is_null(); });
  const bool any =
      std::ranges::any_of(received, [](const ReportJson* traffic) { return has_frames(*traffic); });
  if (arrived || any || sent.is_null()) {
    for (const ReportJson* const traffic : received) put_traffic(row, *traffic);
  } else {
    put_traffic(row, sent);
  }
  // If losses are known, `frames` counts all frames that were sent to the unit.
  const Lost lost = lost_of(unit, jobs, requests);
  if (lost.sent) row.frames = lost.sent;
  row.lost = lost.frames;
  row.lost_share = lost.share;
  return row;
}

/// Whether another unit of the group counts the frames of this one: `askers` count the requests
/// that an echo job receives, and receivers count the frames of a job that only sends.
bool counts_elsewhere(const Unit& unit, const SummaryRow& row,
                      const std::set<std::string>& askers) {
  if (row.role == "tx") return !row.lost;
  if (row.role != "echo" || unit.job->at("loss").is_null()) return false;
  return std::ranges::any_of(unit.job->at("loss").at("flows"), [&](const ReportJson& flow) {
    return askers.contains(name_in(flow, "from"));
  });
}

/// Sets the figures of a group to the sums of its units. For a group with jobs that send requests,
/// the group's own sums count each answer twice.
void put_units(SummaryRow& row, const std::vector<SummaryRow>& units) {
  row.frames.reset();
  row.lost.reset();
  row.fps.reset();
  row.bps.reset();
  row.lost_share.reset();
  for (const SummaryRow& unit : units) {
    add_to(row.frames, unit.frames);
    add_to(row.lost, unit.lost);
    add_to(row.fps, unit.fps);
    add_to(row.bps, unit.bps);
  }
  if (row.lost && row.frames.value_or(0) != 0) {
    row.lost_share = static_cast<double>(*row.lost) / static_cast<double>(*row.frames);
  }
}

SummaryRow row_of(const ReportJson& group, const std::vector<const Unit*>& units,
                  const Requests& requests) {
  SummaryRow row{.name = "group " + words(group, "groupname"),
                 .role = format_counted(group.at("jobnames").size(), "job")};
  const ReportJson& rx = group.at("rx");
  const ReportJson& tx = group.at("tx");
  const ReportJson& loss = group.at("loss");
  if (!loss.is_null() || has_frames(rx)) {
    if (!rx.is_null()) put_traffic(row, rx);
  } else if (!tx.is_null()) {
    put_traffic(row, tx);
  }
  if (!loss.is_null()) {
    row.frames = count(loss, "sent_frames");
    row.lost = count(loss, "lost_frames");
    row.lost_share = figure(loss, "lost_share");
  }
  put_latency(row, group.at("latency_ns"));
  std::set<std::string> askers;
  for (const Unit* const unit : units) {
    if (name_in(*unit->job, "rw") == "pingpong") askers.insert(name_in(*unit->job, "jobname"));
  }
  std::vector<SummaryRow> counted;
  for (const Unit* const unit : units) {
    SummaryRow of = row_of(*unit, requests);
    row.passed = row.passed && of.passed;
    if (!counts_elsewhere(*unit, of, askers)) counted.push_back(std::move(of));
  }
  if (!askers.empty()) put_units(row, counted);
  return row;
}

/// A group that reports for its jobs has a row in the place of its first job. Jobs of searches have
/// no row, because their figures are those of one trial only.
std::vector<SummaryRow> rows_of(const ReportJson& report) {
  std::set<std::string> searched;
  for (const ReportJson& search : report.at("searches")) {
    searched.insert(name_in(search, "jobname"));
  }
  const Requests requests = requests_of(report);
  const std::vector<Unit> units = units_of(report);
  std::map<std::string, std::vector<const Unit*>> members;  // of each group
  for (const Unit& unit : units) members[name_in(*unit.job, "groupname")].push_back(&unit);
  std::map<std::string, const ReportJson*> groups;
  for (const ReportJson& group : report.at("groups")) {
    groups.emplace(name_in(group, "groupname"), &group);
  }
  std::vector<SummaryRow> rows;
  for (const Unit& unit : units) {
    if (searched.contains(name_in(*unit.job, "jobname"))) continue;
    if (!is_left_to_its_group(unit)) {
      rows.push_back(row_of(unit, requests));
      continue;
    }
    const auto group = groups.extract(name_in(*unit.job, "groupname"));
    if (group) rows.push_back(row_of(*group.mapped(), members[group.key()], requests));
  }
  return rows;
}

/// If there are too many rows, keeps those that failed, then those that lost most.
void keep_worst(std::vector<SummaryRow>& rows) {
  if (rows.size() <= kMaxSummaryRows) return;
  std::vector<std::size_t> order(rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) {
    return std::tuple(rows[i].passed, ~rows[i].lost.value_or(0), i);
  });
  order.resize(kMaxSummaryRows);
  std::ranges::sort(order);
  std::vector<SummaryRow> kept;
  kept.reserve(kMaxSummaryRows);
  for (const std::size_t i : order) kept.push_back(std::move(rows[i]));
  rows = std::move(kept);
}

/// The table of jobs: a line for each job with its peers, or for a group that reports for its jobs.
/// If there are too many rows, it keeps those that failed or lost most. Empty without rows.
std::string summary_rows_text(const ReportJson& report, std::size_t width) {
  std::vector<SummaryRow> rows = rows_of(report);
  if (rows.empty()) return "";
  const std::size_t all = rows.size();
  keep_worst(rows);
  const bool failed = !std::ranges::all_of(rows, &SummaryRow::passed);
  const bool timed =
      std::ranges::any_of(rows, [](const SummaryRow& row) { return row.p99.has_value(); });
  Table table;
  const auto add = [&](Table::Row cells, const std::string& verdict,
                       std::initializer_list<std::string> times) {
    if (failed) cells.insert(cells.begin() + 1, verdict);
    if (timed) cells.insert(cells.end(), times);
    table.add(std::move(cells));
  };
  add({"job", "role", "frames", "rate", "", "lost", ""}, "", {"latency p50", "p99"});
  for (const SummaryRow& row : rows) {
    add({row.name, row.role, format_count(row.frames), format_fps(row.fps), format_bps(row.bps),
         format_count(row.lost), row.lost ? format_share(row.lost_share) : ""},
        row.passed ? "passed" : "FAILED", {format_ns(row.p50), format_ns(row.p99)});
  }
  return table.text(width) + rest_of(all, kMaxSummaryRows, "job");
}

constexpr std::size_t kMaxProblems = 5;
constexpr std::size_t kMaxWarnings = 5;
constexpr std::size_t kMaxCauseLines = 3;
constexpr std::size_t kMaxFiles = 4;

/// A line with a word in front: "  warning   text".
std::string marked(std::string word, const std::string& text, std::size_t width) {
  word.resize(std::max<std::size_t>(word.size(), 8), ' ');
  return wrapped("  " + word + "  " + text, width, 12);
}

// ---- The verdict ----

struct Loss {
  std::uint64_t lost = 0;
  std::optional<std::uint64_t> sent;  ///< empty: no job counted losses
};

/// For round trips, `sent` counts requests only: a lost request or reply is one missing answer.
Loss loss_of(const ReportJson& report) {
  const Requests requests = requests_of(report);
  Loss all;
  for (const ReportJson& job : report.at("jobs")) {
    const ReportJson& loss = job.at("loss");
    if (loss.is_null()) continue;
    all.lost += count(loss, "lost_frames").value_or(0);
    std::uint64_t sent = count(loss, "sent_frames").value_or(0);
    for (const ReportJson& flow : loss.at("flows")) {
      if (flow.at("kind") != "reply" || !requests.contains(name_in(flow, "to"))) continue;
      sent -= std::min(sent, count(flow, "sent_frames").value_or(0));
    }
    all.sent = all.sent.value_or(0) + sent;
  }
  return all;
}

/// "passed", "FAILED on 1 of 2 servers", or "stopped by SIGINT on 2 servers".
std::string outcome_of(const ReportJson& report) {
  std::string verdict = verdict_of(report);
  const auto hosts = report.find("hosts");
  if (hosts == report.end()) return verdict;
  const std::size_t failed = failed_servers(report);
  const std::string servers = format_counted(hosts->size(), "server");
  if (verdict == "FAILED" && failed != 0) {
    return verdict + " on " + format_count(failed) + " of " + servers;
  }
  // Servers that ran no jobs are in the failures of the run.
  if (const std::string stopped = stopped_text(report); failed == 0 && !stopped.empty()) {
    verdict = stopped;
  }
  return verdict + " on " + servers;
}

/// "57 of 5,000 frames lost", "no loss in 5,000 frames" or "no frame sent".
std::string frames_lost_text(std::uint64_t lost, std::uint64_t sent) {
  if (sent == 0) return "no frame sent";
  const std::string frames = format_counted(sent, "frame");
  return lost == 0 ? "no loss in " + frames : format_count(lost) + " of " + frames + " lost";
}

std::string first_line(const ReportJson& report, std::size_t width) {
  const std::string outcome = outcome_of(report);
  std::string line = "shmifperf " + words(report, "shmifperf_version") + ": " + outcome;
  const Loss loss = loss_of(report);
  // After a search, the frames come from only one of many trials.
  if (loss.sent && report.at("searches").empty()) {
    line += ", " + frames_lost_text(loss.lost, *loss.sent) + blame_for(report, loss.lost);
  }
  line += " (exit code " + report.at("exit_code").dump() + "), took " +
          format_seconds(figure(report.at("time"), "seconds"));
  const std::string stopped = stopped_text(report);
  if (!stopped.empty() && !outcome.starts_with(stopped)) line += ", " + stopped;
  return wrapped(line, width, 2);
}

// ---- What went wrong ----

/// Why the run failed. Problems that this text sums up for all jobs are left out.
std::string failures_text(const ReportJson& report, std::size_t width) {
  std::vector<std::string> lines;
  for (const ReportJson& failure : report.at("failures")) {
    lines.push_back(marked("FAILED", printable(failure.get<std::string>()), width));
  }
  for (const ReportJson& job : report.at("jobs")) {
    for (const ReportJson& problem : job.at("problems")) {
      const std::string kind = words(problem, "kind");
      if (kind != "failed" && kind != "counts" && kind != "errors") continue;
      lines.push_back(marked(kind, words(job, "jobname") + ": " + words(problem, "text"), width));
    }
  }
  std::string text;
  for (std::size_t i = 0; i < std::min(lines.size(), kMaxProblems); ++i) text += lines[i];
  return text + rest_of(lines.size(), kMaxProblems, "failure");
}

/// A count of all jobs together. `of`: null, or the object in which each job has it.
std::uint64_t sum_of(const ReportJson& report, const char* of, const char* key) {
  std::uint64_t sum = 0;
  for (const ReportJson& job : report.at("jobs")) {
    if (of != nullptr && !job.contains(of)) continue;  // an older result
    const ReportJson& from = of == nullptr ? job : job.at(of);
    if (!from.is_null()) sum += count(from, key).value_or(0);
  }
  return sum;
}

/// What else happened to the frames of all jobs; may be empty.
std::string fates_text(const ReportJson& report) {
  FlowResult all;
  for_each_member<FlowResult>([&](const Figure<FlowResult>& row, auto member) {
    if constexpr (std::is_same_v<decltype(member), std::uint64_t FlowResult::*>) {
      all.*member = sum_of(report, "loss", row.key);
    }
  });
  return other_fates(all);
}

/// "12 frames that shmifperf did not make arrived, most of them at voip.sink"; empty if no such
/// frames arrived.
std::string foreign_text(const ReportJson& report) {
  std::string most;
  std::uint64_t greatest = 0;
  std::size_t jobs = 0;
  for (const ReportJson& job : report.at("jobs")) {
    if (job.at("rx").is_null()) continue;
    const std::uint64_t here = count(job.at("rx"), "foreign_frames").value_or(0) +
                               count(job.at("rx"), "stale_frames").value_or(0);
    jobs += here != 0 ? 1 : 0;
    if (here <= greatest) continue;
    greatest = here;
    most = words(job, "jobname");
  }
  if (jobs == 0) return "";
  std::string text;
  const auto add = [&](const char* key, const char* what) {
    const std::uint64_t frames = sum_of(report, "rx", key);
    if (frames != 0) text += (text.empty() ? "" : " and ") + format_counted(frames, "frame") + what;
  };
  add("foreign_frames", " that shmifperf did not make");
  add("stale_frames", " of another run");
  return text + " arrived" + (jobs == 1 ? " at " : ", most of them at ") + most;
}

/// The events that are reported once for all jobs.
std::string events_text(const ReportJson& report, std::size_t width) {
  std::string text;
  if (const std::uint64_t times = sum_of(report, nullptr, "overruns"); times != 0) {
    text +=
        marked("overrun",
               "receivers were slower than their senders " + format_counted(times, "time") +
                   ", and lost " +
                   (std::ranges::any_of(report.at("jobs"), is_lower_bound) ? "at least " : "") +
                   format_counted(sum_of(report, nullptr, "overrun_frames"), "frame") + " by that",
               width);
  }
  if (const std::uint64_t again = sum_of(report, "tcp", "retransmits"); again != 0) {
    text += marked("TCP", "sent " + format_counted(again, "segment") + " again", width);
  }
  if (const std::string fates = fates_text(report); !fates.empty()) {
    text += marked("frames", fates, width);
  }
  if (const std::string foreign = foreign_text(report); !foreign.empty()) {
    text += marked("foreign", foreign, width);
  }
  if (const std::uint64_t skipped = sum_of(report, "tx", "skipped_frames"); skipped != 0) {
    text += marked("skipped",
                   format_count(skipped) + " of " +
                       format_counted(sum_of(report, "tx", "offered_frames"), "frame") +
                       " offered were given up after stalls (rate_catchup=skip)",
                   width);
  }
  return text;
}

std::string warnings_text(const ReportJson& report, std::size_t width) {
  const ReportJson& warnings = report.at("warnings");
  std::string text;
  for (std::size_t i = 0; i < std::min(warnings.size(), kMaxWarnings); ++i) {
    text += marked("warning", printable(warnings[i].get<std::string>()), width);
  }
  return text + rest_of(warnings.size(), kMaxWarnings, "warning");
}

// ---- Several runs ----

/// The figures of repetitions, by job and figure.
using Repeats = std::map<std::pair<std::string, std::string>, const ReportJson*>;

const ReportJson* repeat_of(const Repeats& repeats, const ReportJson& job, const char* figure) {
  const auto at = repeats.find({name_in(job, "jobname"), figure});
  return at == repeats.end() ? nullptr : at->second;
}

/// The rate that a search found, or that arrived, or else that was sent.
const ReportJson* main_repeat_of(const Repeats& repeats, const Unit& unit) {
  if (const auto* const found = repeat_of(repeats, *unit.job, "found_fps")) return found;
  std::vector<const ReportJson*> jobs = unit.peers;
  // Answers count at the job that receives them.
  const bool asks = name_in(*unit.job, "rw") == "pingpong";
  jobs.insert(asks ? jobs.begin() : jobs.end(), unit.job);
  for (const ReportJson* const job : jobs) {
    if (const auto* const received = repeat_of(repeats, *job, "rx_fps")) return received;
  }
  return repeat_of(repeats, *unit.job, "tx_fps");
}

/// The rates that searches found, without the empty line at the end.
std::string found_rates_text(const ReportJson& report, std::size_t width) {
  std::string text = searches_text(report, width, kMaxSummaryRows);
  if (!text.empty()) text.pop_back();
  return text;
}

std::string main_repeats_text(const ReportJson& report, std::size_t width) {
  Table table;
  table.add({"repetitions", "times", "mean", "+- (95 %)", "least", "most"});
  Repeats repeats;
  for (const ReportJson& repeat : report.at("repeats")) {
    repeats.emplace(std::pair{name_in(repeat, "jobname"), name_in(repeat, "figure")}, &repeat);
  }
  if (repeats.empty()) return "";
  std::size_t all = 0;
  for (const Unit& unit : units_of(report)) {
    const ReportJson* const repeat = main_repeat_of(repeats, unit);
    if (repeat == nullptr) continue;
    const auto is_number = [](const ReportJson& value) { return value.is_number(); };
    if (!std::ranges::any_of(repeat->at("values"), is_number)) continue;
    if (++all > kMaxSummaryRows) continue;  // only its number is shown
    std::vector<double> values;
    for (const ReportJson& value : repeat->at("values")) {
      if (value.is_number()) values.push_back(value.get<double>());
    }
    const auto over = estimate(values);
    if (!over) continue;
    table.add({words(*repeat, "jobname") + ' ' + words(*repeat, "figure"),
               format_count(over->count), format_fps(over->mean),
               format_share(over->half_width_share()), format_fps(over->min),
               format_fps(over->max)});
  }
  return all == 0 ? "" : table.text(width) + rest_of(all, kMaxSummaryRows, "job");
}

// ---- The end ----

std::string files_text(const std::vector<std::string>& files, std::size_t width) {
  if (files.empty()) return "";
  std::string names;
  for (std::size_t i = 0; i < std::min(files.size(), kMaxFiles); ++i) {
    names += (i == 0 ? "" : ", ") + printable(files[i]);
  }
  if (files.size() > kMaxFiles) {
    names += " and " + format_counted(files.size() - kMaxFiles, "more file");
  }
  return marked("wrote", names, width);
}

/// A line about what the summary leaves out; empty if it is complete.
std::string hint_text(const ReportJson& report, bool cut) {
  bool traffic = false, counters = false, heat = false;
  for (const ReportJson& job : report.at("jobs")) {
    traffic = traffic || !job.at("tx").is_null() || !job.at("rx").is_null();
    counters = counters || job.contains("counters");
    heat = heat || job.contains("heat");
  }
  std::string what;
  const auto add = [&](bool asked_for, const char* name) {
    if (asked_for) what += (what.empty() ? "" : ", ") + std::string(name);
  };
  add(counters, "counters");
  add(report.contains("membw"), "memory bandwidth");
  add(heat, "heat");
  if (!traffic && !cut && what.empty()) return "";
  return "use --details for the rest" + (what.empty() ? "" : " (" + what + ')') + '\n';
}

}  // namespace

std::string rest_of(std::size_t all, std::size_t max, const std::string& thing) {
  return all <= max ? "" : "  ... and " + format_counted(all - max, "more " + thing) + '\n';
}

std::string to_verdict(const Report& report, std::size_t width) {
  return first_line(report.json(), width) + failures_text(report.json(), width);
}

std::string to_summary(const Report& report, std::size_t width,
                       const std::vector<std::string>& files) {
  const ReportJson& json = report.json();
  std::string text = first_line(json, width) + repetitions_text(json, width);
  if (!json.at("steady_state").is_null()) {
    text += wrapped("  steady state " + words(json, "steady_state"), width, 4);
  }
  text += failures_text(json, width) + events_text(json, width) + warnings_text(json, width) +
          found_rates_text(json, width) + main_repeats_text(json, width) +
          summary_rows_text(json, width) + main_causes_text(json, width, kMaxCauseLines);
  const bool cut = text.find("\n  ... and ") != std::string::npos;
  return text + files_text(files, width) + hint_text(json, cut);
}

}  // namespace shmif::perf
