// Compares each cell about jobs and groups in the tables of the page, by the name of its column,
// with the result's JSON.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/perf/report/row_figures.hpp"
#include "tests/perf/report/web/cells.hpp"
#include "tests/perf/report/web/samples.hpp"

namespace shmif::perf::page_cells {
namespace {

std::string words(const Json& value) {
  return value.is_null() ? "-" : value.get<std::string>();
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

Rows joined(Rows first, const Rows& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

/// The columns that the rows of T ask for. `of` null: nothing is known.
template <class T>
Cells columns_of(const Json& of) {
  Cells cells;
  for (const Figure<T>& figure : kRowsOf<T>) {
    const Column& column = figure.column;
    if (column.page == nullptr) continue;
    const bool exact = column.format == Format::exact_bytes;
    std::string text =
        page_words(test::in_words(of, figure.key, exact ? Format::bytes : column.format));
    if (column.bad && of.at(figure.key) > 0) text += '!';
    cells.emplace_back(column.page, std::move(text));
  }
  return cells;
}

/// A row of a table: `name` below the head `head`, and these cells.
Cells row_of(const char* head, const std::string& name, const Cells& cells) {
  Cells row = {{head, name}};
  row.insert(row.end(), cells.begin(), cells.end());
  return row;
}

Cells traffic_row(const std::string& name, const Json& t) {
  return row_of("job", name, columns_of<TrafficResult>(t));
}

Rows traffic_rows(const std::string& name, const Json& of) {
  Rows rows;
  if (!of["tx"].is_null()) rows.push_back(traffic_row(name + " sent", of["tx"]));
  if (!of["rx"].is_null()) rows.push_back(traffic_row(name + " received", of["rx"]));
  return rows;
}

Rows time_row(const std::string& name, const Json& h) {
  if (h.is_null()) return {};
  return {{{"job and time", name},
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
  Cells row = row_of("flow", name, columns_of<FlowResult>(f));
  // Damaged copies are counted beside the fates, in one column after the damaged frames.
  const auto after = std::ranges::find(row, "truncated", &Cells::value_type::first);
  row.insert(after + 1, {"damaged copies", bad(damaged)});
  return row;
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
  Cells row = row_of("job", name, columns_of<CpuResult>(c));
  row.emplace_back("faults", known ? count(c["minor_faults"].get<std::uint64_t>() +
                                           c["major_faults"].get<std::uint64_t>())
                                   : "-");
  row.emplace_back("start skew", ns(of["start_skew_ns"]));
  return row;
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
  return {{{"job", job["jobname"]},
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

const Json& member(const Json& of, const char* key) {
  static const Json kNone;
  return of.is_object() && of.contains(key) ? of.at(key) : kNone;
}

/// "At a glance": what the sender sent, what its receiver received, and what was lost.
Cells glance(const Json& tx, const Json& at, const std::string& lost,
             const std::string& lost_share) {
  const Json& rx = at["rx"];
  const Json& h = at["latency_ns"];
  return {{"offered", fps(member(tx, "offered_fps"))},
          {"sent", fps(member(tx, "rate_fps"))},
          {"received", fps(member(rx, "rate_fps"))},
          {"bit rate", bps(member(rx, "rate_bps"))},
          {"lost", lost},
          {"lost share", lost_share},
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
  const Rows expected = {row_of("job", "load", columns_of<TcpResult>(tcp))};
  EXPECT_EQ(table_of(shown("few", result), "TCP").rows, expected);
}

TEST_F(TablesInABrowser, ErrorsThatJobsWentOnAfterAreCountedByTheirClass) {
  for (const Json& table : shown("few", test::few_jobs_json())["tables"])
    EXPECT_NE(table["name"], "Errors") << "no job has one";
  Json result = test::few_jobs_json();
  Json& jobs = result["jobs"];
  jobs[0]["errors_by_class"]["tx"] = {
      {"count", 1234}, {"first", "<b>first</b>"}, {"reason", nullptr}};
  jobs[0]["errors_by_class"]["lock"] = {{"count", 2}, {"first", nullptr}, {"reason", "unread"}};
  jobs[1]["errors_by_class"]["rx"] = {{"count", nullptr}, {"first", nullptr}, {"reason", "killed"}};
  jobs[2].erase("errors_by_class");  // as in older results
  jobs[3]["errors_by_class"]["verify"] = {{"count", 1}, {"first", "last"}, {"reason", nullptr}};
  const auto name = [&](std::size_t job) { return jobs[job]["jobname"].get<std::string>(); };
  EXPECT_EQ(table_of(shown("errors", result), "Errors").rows,
            (Rows{{{"errors", name(0) + " tx"}, {"count", "1,234"}, {"first", "<b>first</b>"}},
                  {{"errors", name(0) + " lock"}, {"count", "2"}, {"first", "-"}},
                  {{"errors", name(3) + " verify"}, {"count", "1"}, {"first", "last"}}}));
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

}  // namespace
}  // namespace shmif::perf::page_cells
