// Compares each cell in the tables of the page, by the name of its column, with the result's JSON.

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "perf/report/units.hpp"
#include "perf/stats/latency_histogram.hpp"
#include "tests/perf/remote/served_sample.hpp"
#include "tests/perf/report/page_in_browser.hpp"
#include "tests/perf/report/page_samples.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::json;
/// The cells of a row, as [head, text]. A cell that is marked as bad ends with "!".
using Cells = std::vector<std::pair<std::string, std::string>>;
using Rows = std::vector<Cells>;

// ---- Figures as the page shows them ----

const Json& member(const Json& of, const char* key) {
  static const Json kNone;
  return of.is_object() && of.contains(key) ? of.at(key) : kNone;
}
std::optional<double> number(const Json& value) {
  return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}
std::string page_words(std::string text) {
  const auto micro = text.find(" us");
  return micro == std::string::npos ? text : text.replace(micro, 3, " µs");
}
std::string ns(const Json& value) {
  return page_words(format_ns(number(value)));
}
std::string seconds(const Json& value) {
  return page_words(format_seconds(number(value)));
}
std::string bps(const Json& value) {
  return format_bps(number(value));
}
std::string fps(const Json& value) {
  return format_fps(number(value));
}
std::string share(const Json& value) {
  return format_share(number(value));
}
std::string count(const Json& value) {
  return value.is_number() ? format_count(value.get<std::uint64_t>()) : "-";
}
std::string bytes(const Json& value) {
  return value.is_number() ? format_bytes(value.get<std::uint64_t>()) : "-";
}
std::string bad(const Json& value) {
  return count(value) + (number(value).value_or(0) > 0 ? "!" : "");
}
std::string words(const Json& value) {
  return value.is_null() ? "-" : value.get<std::string>();
}
std::string yes(const Json& value) {
  return value.is_null() ? "-" : value.get<bool>() ? "yes" : "NO!";
}

// ---- What is on the page ----

/// A table. Its rows may be folded; then `folded` is the title of the fold.
struct Shown {
  Rows rows;
  std::optional<std::string> folded;
};

Shown table_of(const Json& facts, const std::string& name) {
  for (const Json& table : facts["tables"]) {
    if (table["name"] != name) continue;
    Shown shown;
    for (const Json& row : table["rows"]) {
      Cells cells;
      EXPECT_EQ(row.size(), table["head"].size()) << name;
      for (std::size_t i = 0; i < std::min(row.size(), table["head"].size()); ++i) {
        cells.emplace_back(table["head"][i], row[i]);
      }
      shown.rows.push_back(cells);
    }
    if (!table["folded"].is_null()) shown.folded = table["folded"];
    return shown;
  }
  ADD_FAILURE() << "no table " << name;
  return {};
}

/// The groups with several jobs that somebody asked for; nobody asks for peers.
std::vector<Json> groups_of_several(const Json& result) {
  std::vector<Json> groups;
  for (const Json& group : result["groups"]) {
    const auto members = std::ranges::count_if(result["jobs"], [&](const Json& job) {
      return job["peer_of"].is_null() && job["groupname"] == group["groupname"];
    });
    if (members > 1) groups.push_back(group);
  }
  return groups;
}

std::string title_of(const Json& group) {
  return "group " + group["groupname"].get<std::string>();
}

template <class Make>
Rows rows_of(const auto& list, const Make& make) {
  Rows rows;
  for (const Json& each : list) {
    for (Cells& row : make(each)) rows.push_back(std::move(row));
  }
  return rows;
}

Rows joined(Rows first, const Rows& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

// ---- What the page should show ----

Cells sent_row(const std::string& name, const Json& t) {
  return {{"", name + " sent"},
          {"frames", count(t["frames"])},
          {"bytes", bytes(t["bytes"])},
          {"rate", fps(t["rate_fps"])},
          {"", bps(t["rate_bps"])},
          {"offered", fps(t["offered_fps"])},
          {"", bps(t["offered_bps"])},
          {"over", seconds(t["seconds"])},
          {"refused", count(t["refused_frames"])},
          {"skipped", count(t["skipped_frames"])},
          {"errors", bad(t["errors"])},
          {"foreign", "-"}};
}

Cells received_row(const std::string& name, const Json& t) {
  return {{"", name + " received"},
          {"frames", count(t["frames"])},
          {"bytes", bytes(t["bytes"])},
          {"rate", fps(t["rate_fps"])},
          {"", bps(t["rate_bps"])},
          {"offered", "-"},
          {"", "-"},
          {"over", seconds(t["seconds"])},
          {"refused", "-"},
          {"skipped", "-"},
          {"errors", bad(t["errors"])},
          {"foreign", count(t["foreign_frames"])}};
}

Rows traffic_rows(const std::string& name, const Json& of) {
  Rows rows;
  if (!of["tx"].is_null()) rows.push_back(sent_row(name, of["tx"]));
  if (!of["rx"].is_null()) rows.push_back(received_row(name, of["rx"]));
  return rows;
}

Rows time_row(const std::string& name, const Json& h) {
  if (h.is_null()) return {};
  return {{{"", name},
           {"count", count(h["count"])},
           {"min", ns(h["min"])},
           {"mean", ns(h["mean"])},
           {"p50", ns(h["p50"])},
           {"p90", ns(h["p90"])},
           {"p99", ns(h["p99"])},
           {"p99.9", ns(h["p99_9"])},
           {"p99.99", ns(h["p99_99"])},
           {"p99.999", ns(h["p99_999"])},
           {"max", ns(h["max"])}}};
}

Rows time_rows(const Json& job) {
  const auto name = job["jobname"].get<std::string>();
  return joined(joined(time_row(name + " latency", job["latency_ns"]),
                       time_row(name + " service", job["service_ns"])),
                time_row(name + " spacing error", job["spacing_error_ns"]));
}

Cells fates_row(const std::string& name, const Json& f) {
  const auto damaged =
      f["corrupt_copies"].get<std::uint64_t>() + f["truncated_copies"].get<std::uint64_t>();
  return {{"", name},
          {"sent", count(f["sent_frames"])},
          {"received", count(f["received_frames"])},
          {"lost", bad(f["lost_frames"])},
          {"", share(f["lost_share"])},
          {"duplicate", bad(f["duplicate_frames"])},
          {"reordered", bad(f["reordered_frames"])},
          {"corrupt", bad(f["corrupt_frames"])},
          {"truncated", bad(f["truncated_frames"])},
          {"damaged copies", bad(damaged)},
          {"late", count(f["late_frames"])},
          {"cancelled", count(f["cancelled_frames"])},
          {"unchecked", bad(f["unverified_frames"])},
          {"jitter", ns(f["jitter_ns"])}};
}

Rows flow_rows(const Json& job) {
  if (job["loss"].is_null()) return {};
  return rows_of(job["loss"]["flows"], [](const Json& f) -> Rows {
    const std::string kind = f["kind"] == "request" ? " requests"
                             : f["kind"] == "reply" ? " replies"
                                                    : "";
    return {fates_row(f["from"].get<std::string>() + " → " + f["to"].get<std::string>() + kind, f)};
  });
}

Cells cpu_row(const std::string& name, const Json& of) {
  const Json& c = of["cpu"];
  const bool known = c.is_object();
  return {{"", name},
          {"user", known ? seconds(c["user_seconds"]) : "-"},
          {"system", known ? seconds(c["system_seconds"]) : "-"},
          {"frames per CPU-s", known ? fps(c["frames_per_busy_second"]) : "-"},
          {"slept", known ? count(c["voluntary_switches"]) : "-"},
          {"interrupted", known ? count(c["involuntary_switches"]) : "-"},
          {"faults", known ? count(c["minor_faults"].get<std::uint64_t>() +
                                   c["major_faults"].get<std::uint64_t>())
                           : "-"},
          {"start skew", ns(of["start_skew_ns"])}};
}

Rows cpu_rows(const Json& job) {
  Cells row = cpu_row(job["jobname"], job);
  row.emplace_back("rate ±", share(job["rate_ci95_share"]));
  row.emplace_back("limit", fps(job["limit_fps"]));
  row.emplace_back("used of it", share(job["limit_share"]) +
                                     (number(job["limit_share"]).value_or(0) >= 0.8 ? "!" : ""));
  return {row};
}

Rows cpu_rows_of_group(const Json& group) {
  Cells row = cpu_row(title_of(group), group);
  for (const char* head : {"rate ±", "limit", "used of it"}) row.emplace_back(head, "-");
  return {row};
}

Rows counts_rows(const Json& job) {
  const Json& c = job["counts"];
  const auto of = [&](const char* direction, const char* key) {
    return job[direction].is_null() ? "-" : count(c[key]);
  };
  return {{{"", job["jobname"]},
           {"generator sent", of("tx", "generator_tx_frames")},
           {"wire took", of("tx", "wire_tx_frames")},
           {"wire delivered", of("rx", "wire_rx_frames")},
           {"receiver got", of("rx", "receiver_rx_frames")},
           {"of them foreign", of("rx", "receiver_foreign_frames")},
           {"wire lost", of("rx", "wire_lost_frames")},
           {"wire dropped", count(c["wire_dropped_frames"])},
           {"agree", yes(c["agree"])}}};
}

Rows job_rows(const Json& job) {
  std::string options;
  for (const auto& [key, value] : job["options"].items()) {
    options += (options.empty() ? "" : " ") + key + "=" + value.get<std::string>();
  }
  return {{{"job", job["jobname"]},
           {"rw", job["rw"]},
           {"engine", job["engine"]},
           {"ended as", job["exit_signal"].is_null()
                            ? job["state"].get<std::string>()
                            : "signal " + std::to_string(job["exit_signal"].get<int>())},
           {"passed", yes(job["passed"])},
           {"address", words(job["address"])},
           {"options", options.empty() ? "-" : options}}};
}

/// "At a glance": what the sender sent, what its receiver received, and what was lost.
Cells glance(const Json& tx, const Json& at, const std::string& lost,
             const std::string& lost_share) {
  const Json& rx = at["rx"];
  const Json& h = at["latency_ns"];
  return {{"offered", fps(member(tx, "offered_fps"))},
          {"sent", fps(member(tx, "rate_fps"))},
          {"received", fps(member(rx, "rate_fps"))},
          {"", bps(member(rx, "rate_bps"))},
          {"lost", lost},
          {"", lost_share},
          {"p50", ns(member(h, "p50"))},
          {"p99", ns(member(h, "p99"))},
          {"p99.9", ns(member(h, "p99_9"))},
          {"max", ns(member(h, "max"))}};
}

Cells glance_of_pair(const Json& sender, const Json& receiver) {
  const Json& loss = receiver["loss"];
  Cells row = {{"job", sender["jobname"]}, {"engine", sender["engine"]}};
  const Cells figures =
      glance(sender["tx"], receiver, loss.is_null() ? "-" : bad(loss["lost_frames"]),
             loss.is_null() ? "-" : share(loss["lost_share"]));
  row.insert(row.end(), figures.begin(), figures.end());
  row.emplace_back("own limit", share(sender["limit_share"]));
  return row;
}

Cells glance_of_group(const Json& group, const char* jobs) {
  Cells row = {{"group", group["groupname"]}, {"jobs", jobs}};
  const Cells figures = glance(group["tx"], group, bad(group["loss"]["lost_frames"]),
                               share(group["loss"]["lost_share"]));
  row.insert(row.end(), figures.begin(), figures.end());
  return row;
}

class TablesInABrowser : public test::PageInABrowser {
 protected:
  static const Json& shown(const char* name, const Json& result) {
    return facts(std::string("own-") + name, [&] { return test::page_of_json(result.dump()); });
  }
};

TEST_F(TablesInABrowser, OfFewJobsEachCellIsTheFigureThatItsColumnNames) {
  const Json& result = test::few_jobs_json();
  const Json& facts = shown("few", result);
  const Json& jobs = result["jobs"];
  const std::vector<Json> groups = groups_of_several(result);
  ASSERT_EQ(groups.size(), 1U);
  const auto name = [](const Json& job) { return job["jobname"].get<std::string>(); };

  EXPECT_EQ(table_of(facts, "Traffic").rows,
            joined(rows_of(jobs, [&](const Json& job) { return traffic_rows(name(job), job); }),
                   rows_of(groups, [](const Json& g) { return traffic_rows(title_of(g), g); })));
  EXPECT_EQ(table_of(facts, "Times").rows,
            joined(rows_of(jobs, time_rows), rows_of(groups, [](const Json& g) {
                     return time_row(title_of(g) + " latency", g["latency_ns"]);
                   })));
  EXPECT_EQ(table_of(facts, "What became of the frames").rows,
            joined(rows_of(jobs, flow_rows), rows_of(groups, [](const Json& g) -> Rows {
                     return {fates_row(title_of(g), g["loss"])};
                   })));
  EXPECT_EQ(table_of(facts, "CPU and trust").rows,
            joined(rows_of(jobs, cpu_rows), rows_of(groups, cpu_rows_of_group)));
  EXPECT_EQ(table_of(facts, "Counts").rows, rows_of(jobs, counts_rows));
  EXPECT_EQ(table_of(facts, "Jobs").rows, rows_of(jobs, job_rows));
  for (const Json& table : facts["tables"]) EXPECT_TRUE(table["folded"].is_null()) << table["name"];
}

TEST_F(TablesInABrowser, AtAGlanceAJobIsShownWithWhatItsReceiverFound) {
  const Json& result = test::few_jobs_json();
  const Json& jobs = result["jobs"];
  // The asker is its own receiver. Its losses are those of the requests and of the replies.
  const Json& web = jobs[0];
  const Json& requests = jobs[1]["loss"]["flows"][0];
  Cells asker = glance_of_pair(web, web);
  const auto lost = web["loss"]["lost_frames"].get<std::uint64_t>() +
                    requests["lost_frames"].get<std::uint64_t>();
  asker.at(6).second = bad(lost);
  asker.at(7).second = share(static_cast<double>(lost) / requests["sent_frames"].get<double>());
  const Rows expected = {asker, glance_of_pair(jobs[2], jobs[3]), glance_of_pair(jobs[4], jobs[4]),
                         glance_of_pair(jobs[5], jobs[5])};
  EXPECT_EQ(table_of(shown("few", result), "At a glance").rows, expected);
}

TEST_F(TablesInABrowser, ATcpConnectionIsShownFigureByFigure) {
  const Json& result = test::few_jobs_json();
  const Json& tcp = result["jobs"][2]["tcp"];
  const Rows expected = {{{"", "load"},
                          {"retransmits", bad(tcp["retransmits"])},
                          {"RTT min", ns(tcp["rtt_ns_min"])},
                          {"mean", ns(tcp["rtt_ns_mean"])},
                          {"max", ns(tcp["rtt_ns_max"])},
                          {"cwnd max", bytes(tcp["snd_cwnd_bytes_max"])},
                          {"MSS", count(tcp["mss_bytes"])},
                          {"congestion", "bbr"},
                          {"send buffer", bytes(tcp["send_buffer_bytes"])},
                          {"receive buffer", bytes(tcp["receive_buffer_bytes"])},
                          {"DSCP", "46"}}};
  EXPECT_EQ(table_of(shown("few", result), "TCP").rows, expected);
}

TEST_F(TablesInABrowser, OfManyJobsGroupsAreShownAndJobsAreFolded) {
  const Json& result = test::many_jobs_json();
  const Json& facts = shown("many", result);
  const Json& jobs = result["jobs"];
  const std::vector<Json> groups = groups_of_several(result);
  ASSERT_EQ(groups.size(), 12U);
  const auto name = [](const Json& job) { return job["jobname"].get<std::string>(); };

  Rows at_a_glance;
  for (const Json& group : groups) at_a_glance.push_back(glance_of_group(group, "2"));
  EXPECT_EQ(table_of(facts, "At a glance").rows,
            Rows(at_a_glance.begin(), at_a_glance.begin() + 10));
  const Shown more = table_of(facts, "More groups");
  EXPECT_EQ(more.rows, Rows(at_a_glance.begin() + 10, at_a_glance.end()));
  EXPECT_EQ(more.folded, "and 2 more groups");
  Rows pairs;
  for (std::size_t i = 0; i < jobs.size(); i += 2) {
    pairs.push_back(glance_of_pair(jobs[i], jobs[i + 1]));
  }
  const Shown each = table_of(facts, "Jobs at a glance");
  EXPECT_EQ(each.rows, pairs);
  EXPECT_EQ(each.folded, "each of the 24 jobs");

  const auto expect_table = [&](const std::string& table, const Rows& of_groups,
                                const Rows& of_jobs) {
    const Shown shown = table_of(facts, table);
    EXPECT_EQ(shown.rows, of_groups);
    EXPECT_EQ(shown.folded, std::nullopt);
    const Shown single = table_of(facts, table + " of single jobs");
    EXPECT_EQ(single.rows, of_jobs);
    EXPECT_EQ(single.folded, std::to_string(of_jobs.size()) + " rows of single jobs");
  };
  expect_table("Traffic",
               rows_of(groups, [](const Json& g) { return traffic_rows(title_of(g), g); }),
               rows_of(jobs, [&](const Json& job) { return traffic_rows(name(job), job); }));
  expect_table(
      "Times",
      rows_of(groups,
              [](const Json& g) { return time_row(title_of(g) + " latency", g["latency_ns"]); }),
      rows_of(jobs, time_rows));
  expect_table(
      "What became of the frames",
      rows_of(groups, [](const Json& g) -> Rows { return {fates_row(title_of(g), g["loss"])}; }),
      rows_of(jobs, flow_rows));
  expect_table("CPU and trust", rows_of(groups, cpu_rows_of_group), rows_of(jobs, cpu_rows));
  const Shown counts = table_of(facts, "Counts");
  EXPECT_EQ(counts.rows, rows_of(jobs, counts_rows));
  EXPECT_EQ(counts.folded, "48 jobs");
  const Shown list = table_of(facts, "Jobs");
  EXPECT_EQ(list.rows, rows_of(jobs, job_rows));
  EXPECT_EQ(list.folded, "48 jobs");
}

TEST_F(TablesInABrowser, SearchesAreShownByTheirKind) {
  const Json& result = test::searches_json();
  const Json& facts = shown("searches", result);
  const std::pair<const char*, const char*> kinds[] = {
      {"ndr", "Highest rate without loss (RFC 2544)"},
      {"pdr", "Highest rate within the permitted loss"},
      {"latency_target", "Highest rate within the latency target"}};
  for (const auto& [kind, title] : kinds) {
    Rows expected;
    for (const Json& s : result["searches"]) {
      if (s["kind"] != kind) continue;
      std::optional<double> too_high;
      for (const Json& trial : s["trials"]) {
        const double offered = trial["offered_fps"];
        if (trial["passed"] || offered <= number(s["found_fps"]).value_or(0)) continue;
        too_high = std::min(offered, too_high.value_or(offered));
      }
      expected.push_back(
          {{"frame", s["frame_bytes"].is_null() ? "mix" : count(s["frame_bytes"]) + " B"},
           {"job", s["jobname"]},
           {"found", fps(s["found_fps"])},
           {"", bps(s["found_bps"])},
           {"first too high", too_high ? format_fps(too_high) : "-"},
           {"trials", std::to_string(s["trials"].size())},
           {"", s["limited_by_maximum"].get<bool>() ? "the highest rate that was tried"
                : s["why_none"].is_null()           ? ""
                                                    : s["why_none"].get<std::string>()}});
    }
    ASSERT_FALSE(expected.empty()) << kind;
    EXPECT_EQ(table_of(facts, title).rows, expected);
  }
}

TEST_F(TablesInABrowser, RepetitionsAreShownByTheirMedianAndTheirLeastAndMost) {
  const Json& result = test::searches_json();
  Rows expected;
  for (const Json& r : result["repeats"]) {
    const auto figure = r["figure"].get<std::string>();
    const auto format = [&](const Json& value) {
      return figure.ends_with("_fps") ? fps(value)
             : figure == "lost_share" ? share(value)
                                      : ns(value);
    };
    const Json spread =
        (r["max"].get<double>() - r["min"].get<double>()) / r["median"].get<double>();
    expected.push_back({{"", r["jobname"].get<std::string>() + " " + figure},
                        {"times", std::to_string(r["values"].size())},
                        {"median", format(r["median"])},
                        {"least", format(r["min"])},
                        {"most", format(r["max"])},
                        {"spread", share(spread)}});
  }
  ASSERT_EQ(expected.size(), 3U);
  EXPECT_EQ(table_of(shown("searches", result), "Repetitions").rows, expected);
}

TEST_F(TablesInABrowser, OfRepetitionsEachFigureIsTheMedianAndNotThatOfTheRunThatIsShown) {
  const Json& facts = shown("repeated", test::repeated_json());
  LatencyHistogram middle;
  middle.record(2000, 970);
  middle.record(2500, 30);
  const auto at = [&](double per_cent) {
    return page_words(format_ns(static_cast<double>(middle.percentile(per_cent))));
  };
  const Rows rows = table_of(facts, "At a glance").rows;
  ASSERT_EQ(rows.size(), 1U);
  for (const auto& [head, text] : Cells{{"offered", "200 k/s"},
                                        {"sent", "200 k/s"},
                                        {"received", "199 k/s"},
                                        {"p50", at(50)},
                                        {"p99", at(99)}}) {
    EXPECT_EQ(std::ranges::find(rows[0], head, &Cells::value_type::first)->second, text) << head;
  }
  EXPECT_EQ(std::ranges::count_if(facts["notes"],
                                  [](const Json& note) {
                                    return note.get<std::string>().starts_with(
                                        "Medians of 3 runs; counts, curves and buckets are those "
                                        "of run 1.");
                                  }),
            1);
}

TEST_F(TablesInABrowser, EachFaultOnPurposeHasItsCount) {
  const Json& result = test::searches_json();
  const Rows expected = rows_of(result["links"], [](const Json& l) -> Rows {
    return {{{"", l["jobname"].get<std::string>() + " " + l["direction"].get<std::string>()},
             {"options", l["options"]},
             {"frames", count(l["frames"])},
             {"lost", count(l["lost_frames"])},
             {"duplicated", count(l["duplicated_frames"])},
             {"reordered", count(l["reordered_frames"])},
             {"corrupted", count(l["corrupted_frames"])},
             {"truncated", count(l["truncated_frames"])},
             {"queue full", count(l["queue_full_frames"])},
             {"still under way", count(l["under_way_frames"])}}};
  });
  ASSERT_EQ(expected.size(), 2U);
  EXPECT_EQ(table_of(shown("searches", result), "Faults on purpose").rows, expected);
}

Cells window_row(const std::string& name, const Json& c) {
  return {{"over the window", name + "CPU " + std::to_string(c["cpu"].get<int>())},
          {"user", share(c["user_share"])},
          {"system", share(c["system_share"])},
          {"irq", share(c["irq_share"])},
          {"steal", share(c["steal_share"]) + (c["steal_share"].get<double>() >= 0.01 ? "!" : "")},
          {"idle", share(c["idle_share"])}};
}

std::string cpus_of(const Json& machine) {
  return std::to_string(machine["cpus"].get<int>()) + " × " +
         machine["cpu_model"].get<std::string>() + " at 2893 MHz";
}

TEST_F(TablesInABrowser, TheMachineIsDescribed) {
  const Json& result = test::few_jobs_json();
  const Json& facts = shown("few", result);
  const Json& m = result["machine"];
  const Json expected = {{"host", m["hostname"]},
                         {"CPUs", cpus_of(m)},
                         {"memory", format_memory(m["memory_bytes"].get<std::uint64_t>())},
                         {"kernel", m["kernel"]},
                         {"clock", m["clock_source"]},
                         {"virtualization", m["virtualization"]}};
  // The page has pairs in their order; a JSON object is sorted.
  Json shown_list = Json::object();
  for (const Json& pair : facts["list"]) shown_list[pair[0].get<std::string>()] = pair[1];
  EXPECT_EQ(shown_list, expected);
  EXPECT_EQ(table_of(facts, "CPUs over the measured window").rows,
            rows_of(m["cpu_window"], [](const Json& c) -> Rows { return {window_row("", c)}; }));
}

TEST_F(TablesInABrowser, EachServerHasItsRowAndItsCpus) {
  const Json result = Json::parse(test::served_sample_json());
  const Json& facts = shown("servers", result);
  const Json& ran = result["hosts"][0];
  const Json& m = ran["machine"];
  Cells first = {{"server", "lab1:7000"},
                 {"passed", "yes"},
                 {"exit code", "0"},
                 {"began", ns(ran["start_offset_ns"])},
                 {"±", ns(ran["clock_error_ns"])},
                 {"host", m["hostname"]},
                 {"CPUs", cpus_of(m)},
                 {"memory", format_memory(m["memory_bytes"].get<std::uint64_t>())},
                 {"kernel", m["kernel"]},
                 {"clock", m["clock_source"]},
                 {"virtualization", m["virtualization"]}};
  Cells second = first;
  for (auto& [head, text] : second) text = "-";
  second[0].second = "lab2:7000";
  second[1].second = "NO!";
  second[2].second = "77";
  EXPECT_EQ(table_of(facts, "Servers").rows, (Rows{first, second}));
  EXPECT_EQ(table_of(facts, "CPUs over the measured window").rows,
            rows_of(m["cpu_window"],
                    [](const Json& c) -> Rows { return {window_row("lab1:7000 ", c)}; }));
  EXPECT_EQ(facts["list"], Json::array()) << "the client's machine";
}

TEST_F(TablesInABrowser, TheHeadSaysHowTheRunEndedAndWhatWasLost) {
  Json result = test::few_jobs_json();
  const Json& failed = shown("few", result);
  EXPECT_EQ(failed["verdict"], Json::array({"FAILED"}));
  std::uint64_t lost = 0;
  for (const Json& job : result["jobs"]) {
    if (!job["loss"].is_null()) lost += job["loss"]["lost_frames"].get<std::uint64_t>();
  }
  EXPECT_EQ(failed["head"], Json::array({"2025-11-21 04:40:00 UTC · took " +
                                         format_seconds(number(result["time"]["seconds"])) +
                                         " · on bench1 · shmifperf 0.1.0 · exit code 1 · " +
                                         format_count(lost) + " frames lost"}));
  EXPECT_EQ(failed["command"], Json::array({"shmifperf run --output-format=json+ call.job"}));
  const Json& problems = failed["problems"];
  ASSERT_GE(problems.size(), 2U);
  EXPECT_EQ(problems[0]["title"], "failed");
  EXPECT_EQ(problems[0]["text"], "killed: killed by signal 9");
  std::vector<std::string> expected;
  for (const Json& failure : result["failures"]) expected.push_back(failure);
  for (const bool care : {false, true}) {
    for (const Json& job : result["jobs"]) {
      for (const Json& problem : job["problems"]) {
        if ((problem["kind"] == "skipped") != care) continue;
        expected.push_back(job["jobname"].get<std::string>() + ": " +
                           problem["text"].get<std::string>());
      }
    }
  }
  for (const Json& warning : result["warnings"]) expected.push_back(warning);
  std::vector<std::string> texts;
  for (const Json& problem : problems) texts.push_back(problem["text"]);
  EXPECT_EQ(texts, expected);

  // Faults that the user asked for explain all losses, and then some of them.
  result["passed"] = true;
  result["failures"] = Json::array();
  result["exit_code"] = 0;
  result["steady_state"] = "reached at 12 s";
  result["links"] = test::searches_json()["links"];
  Json& link = result["links"][0];
  result["links"].erase(1);
  link["lost_frames"] = lost - 3;
  link["queue_full_frames"] = 2;
  link["under_way_frames"] = 1;
  const Json& all = shown("head-all", result);
  EXPECT_EQ(all["verdict"], Json::array({"PASSED"}));
  EXPECT_TRUE(all["head"][0].get<std::string>().ends_with(
      " · exit code 0 · " + format_count(lost) +
      " frames lost by the requested faults · steady state reached at 12 s"))
      << all["head"];
  link["under_way_frames"] = 0;
  result["passed"] = false;
  result["stopped_by_signal"] = 2;
  const Json& some = shown("head-some", result);
  EXPECT_EQ(some["verdict"], Json::array({"STOPPED"}));
  EXPECT_TRUE(some["head"][0].get<std::string>().ends_with(
      " · stopped by SIGINT · " + format_count(lost) + " frames lost, no more than " +
      format_count(lost - 1) + " of them by the requested faults · steady state reached at 12 s"))
      << some["head"];
}

}  // namespace
}  // namespace shmif::perf
