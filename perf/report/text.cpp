#include "perf/report/text.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "perf/job/values.hpp"
#include "perf/report/table.hpp"
#include "perf/report/text_parts.hpp"
#include "perf/report/units.hpp"
#include "perf/report/words.hpp"

namespace shmif::perf {

std::vector<Unit> units_of(const ReportJson& report) {
  std::vector<Unit> units;
  const ReportJson& jobs = report.at("jobs");
  for (const ReportJson& job : jobs) {
    const std::string of = name_in(job, "peer_of");
    const auto owner = std::find_if(units.begin(), units.end(), [&](const Unit& u) {
      return !of.empty() && name_in(*u.job, "jobname") == of;
    });
    if (owner != units.end()) {
      owner->peers.push_back(&job);
    } else {
      units.push_back({&job, {}});
    }
  }
  return units;
}

namespace {

/// "12 lost (0.0200 %)", "3 duplicate": what should not have happened; empty when nothing did.
std::string bad_fates(const ReportJson& flow) {
  std::string out;
  const auto add = [&](const char* key, const char* word, const std::string& more) {
    const auto n = count(flow, key);
    if (n.value_or(0) == 0) return;
    out += (out.empty() ? "" : ", ") + format_count(n) + ' ' + word + more;
  };
  add("lost_frames", "lost", " (" + format_share(figure(flow, "lost_share")) + ')');
  add("duplicate_frames", "duplicate", "");
  add("reordered_frames", "reordered", "");
  add("corrupt_frames", "corrupt", "");
  add("truncated_frames", "truncated", "");
  add("late_frames", "late", "");
  add("cancelled_frames", "given up", "");
  add("unverified_frames", "unverified", "");
  return out;
}

void add_job_problems(const ReportJson& job, bool said, Table& table) {
  const std::string name = words(job, "jobname");
  const auto add = [&](const std::string& kind, const std::string& what) {
    table.add({kind + "  " + name + ": " + what});
  };
  // What made the run fail has been said.
  if (!job.at("passed").get<bool>() && !said) {
    const std::string why = words(job, "error");
    add("failed  ", why.empty() ? "ended in state " + words(job, "state") : why);
  }
  if (!job.at("loss").is_null()) {
    for (const ReportJson& flow : job.at("loss").at("flows")) {
      const std::string bad = bad_fates(flow);
      if (bad.empty()) continue;
      add("loss    ", bad + ", of " + format_count(count(flow, "sent_frames")) + " sent by " +
                          words(flow, "from"));
    }
  }
  if (count(job, "overruns").value_or(0) > 0) {
    add("overrun ", format_count(count(job, "overruns")) + " times, " +
                        format_count(count(job, "overrun_frames")) + " frames");
  }
  const ReportJson& agree = job.at("counts").at("agree");
  if (agree.is_boolean() && !agree.get<bool>()) {
    add("counts  ", "generator, wire and receiver do not agree");
  }
  for (const char* direction : {"tx", "rx"}) {
    const ReportJson& traffic = job.at(direction);
    if (traffic.is_null() || count(traffic, "errors").value_or(0) == 0) continue;
    add("errors  ", format_count(count(traffic, "errors")) + " of " + direction +
                        ", the first: " + words(traffic, "first_error"));
  }
}

/// Frames that a job gave up after stalls: nobody lost them, and yet the load was less.
void add_skipped(const ReportJson& job, Table& table) {
  const ReportJson& tx = job.at("tx");
  if (tx.is_null() || count(tx, "skipped_frames").value_or(0) == 0) return;
  table.add({"skipped   " + words(job, "jobname") + ": " +
             format_count(count(tx, "skipped_frames")) + " of " +
             format_count(count(tx, "offered_frames")) +
             " frames offered were given up after stalls (rate_catchup=skip)"});
}

/// The first of them, and how many more there are.
std::string at_most(const Table& table) {
  constexpr std::size_t kMost = 50;
  std::string text = table.text();
  if (table.rows() <= kMost) return text;
  std::size_t end = 0;
  for (std::size_t i = 0; i < kMost; ++i) end = text.find('\n', end) + 1;
  return text.substr(0, end) + "  ... and " + format_count(table.rows() - kMost) +
         " more: --output-format=json\n";
}

std::string problems_text(const ReportJson& report) {
  Table table;
  for (const ReportJson& failure : report.at("failures")) {
    table.add({"FAILED    " + printable(failure.get<std::string>())});
  }
  for (const ReportJson& job : report.at("jobs")) {
    const auto names_it = [&](const ReportJson& failure) {
      const auto text = failure.get<std::string>();
      const std::string error = name_in(job, "error");
      return !error.empty() && text.find(error) != std::string::npos;
    };
    const ReportJson& failures = report.at("failures");
    add_job_problems(job, std::any_of(failures.begin(), failures.end(), names_it), table);
  }
  for (const ReportJson& job : report.at("jobs")) add_skipped(job, table);
  Table warnings;
  for (const ReportJson& warning : report.at("warnings")) {
    warnings.add({"warning   " + printable(warning.get<std::string>())});
  }
  return table.empty() && warnings.empty() ? "" : at_most(table) + at_most(warnings) + '\n';
}

/// As a shell reads it.
std::string command_text(const ReportJson& command) {
  std::string out;
  for (const ReportJson& argument : command) {
    out += (out.empty() ? "" : " ") + quote_word(printable(argument.get<std::string>()));
  }
  return out;
}

std::string head_text(const ReportJson& report) {
  const ReportJson& time = report.at("time");
  const ReportJson& signal = report.at("stopped_by_signal");
  const std::string stopped =
      signal.is_null() ? "" : "stopped by " + word_of_signal(signal.get<int>());
  const bool failed = !report.at("failures").empty();
  // Who stops a run in which nothing failed is not told that something has.
  const std::string how = report.at("passed").get<bool>() ? "passed"
                          : !failed && !stopped.empty()   ? stopped
                                                          : "FAILED";
  std::string out = "shmifperf " + words(report, "shmifperf_version") + ": " + how +
                    " (exit code " + report.at("exit_code").dump() + "), began " +
                    words(time, "began") + ", took " + format_seconds(figure(time, "seconds"));
  if (failed && !stopped.empty()) out += ", " + stopped;
  out += '\n';
  const std::string command = command_text(report.at("command"));
  if (!command.empty()) out += "  " + command + '\n';
  if (!report.at("steady_state").is_null()) {
    out += "  steady state " + words(report, "steady_state") + '\n';
  }
  return out + '\n';
}

/// Of a job that asked for the sums of its group in its place.
bool is_left_to_its_group(const Unit& unit) {
  const ReportJson& options = unit.job->at("options");
  const auto wish = options.find("group_reporting");
  const auto wanted =
      wish == options.end() ? Result<bool>(false) : parse_boolean(wish->get<std::string>());
  return wanted && *wanted;
}

/// Whether something should not have happened to it.
bool is_troubled(const Unit& unit) {
  Table problems;
  add_job_problems(*unit.job, false, problems);
  for (const ReportJson* peer : unit.peers) add_job_problems(*peer, false, problems);
  return !problems.empty();
}

/// Groups of several units, and those that report for theirs. What is said of another group is said
/// of its one job.
std::set<std::string> groups_to_show(const std::vector<Unit>& units) {
  std::set<std::string> seen;
  std::set<std::string> names;
  for (const Unit& unit : units) {
    const std::string name = name_in(*unit.job, "groupname");
    if (!seen.insert(name).second || is_left_to_its_group(unit)) names.insert(name);
  }
  return names;
}

/// A block for each job of a run of few. Of many a line for each, none where the group alone is
/// wanted (group_reporting), and blocks for the first that something happened to.
std::string units_text(const std::vector<Unit>& units, bool listed) {
  constexpr std::size_t kMostBlocks = 4;
  std::vector<Unit> single;
  for (const Unit& unit : units) {
    if (!is_left_to_its_group(unit)) single.push_back(unit);
  }
  const bool many = single.size() > kMostBlocks;
  std::string out = many && !listed ? jobs_text(single) : "";
  std::size_t blocks = 0;
  for (const Unit& unit : units) {
    const bool wanted = !many && !is_left_to_its_group(unit);
    if (!wanted && (blocks >= kMostBlocks || !is_troubled(unit))) continue;
    out += unit_text(unit);
    ++blocks;
  }
  return out;
}

}  // namespace

std::string to_text(const Report& report) {
  const ReportJson& json = report.json();
  const std::vector<Unit> units = units_of(json);
  const std::set<std::string> groups = groups_to_show(units);
  bool listed = false;
  std::string out = head_text(json) + problems_text(json) + engines_text(json, listed) +
                    searches_text(json) + repeats_text(json) + units_text(units, listed);
  for (const ReportJson& group : json.at("groups")) {
    if (groups.contains(name_in(group, "groupname"))) out += group_text(group);
  }
  return out + links_text(json) + machine_text(json);
}

}  // namespace shmif::perf
