// The table of jobs in the summary of a run.

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <tuple>

#include "perf/report/table.hpp"
#include "perf/report/text_blocks.hpp"
#include "perf/report/units.hpp"

namespace shmif::perf {
namespace {

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

}  // namespace

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

}  // namespace shmif::perf
