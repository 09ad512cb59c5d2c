// What the page tells of a run. Pages of which each figure has a value of its own are compared as a
// whole, with few.txt, searches.txt and servers.txt.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "perf/report/report.hpp"
#include "perf/stats/latency_histogram.hpp"
#include "tests/perf/remote/served_sample.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/perf/report/web/cells.hpp"
#include "tests/perf/report/web/samples.hpp"
#include "tests/perf/stats/recorded.hpp"
#include "tests/support/paths.hpp"

namespace shmif::perf::page_cells {
namespace {

// ---- Whole pages ----

std::string joined(const Json& cells) {
  std::string line;
  for (const Json& cell : cells) {
    const auto text = cell.get<std::string>();
    line += (line.empty() ? "" : " | ") + (text.empty() ? "(nothing)" : text);
  }
  return line + '\n';
}

/// The head of the page, the titles of its problems, what it says of the machine, and its tables;
/// or these tables alone.
std::string text_of(const Json& facts, const std::set<std::string>& tables) {
  std::string text;
  if (tables.empty()) {
    for (const char* part : {"verdict", "head", "command", "figures"}) text += joined(facts[part]);
    for (const Json& problem : facts["problems"]) {
      text += problem["title"].get<std::string>() + '\n';
    }
    for (const Json& pair : facts["list"]) text += joined(pair);
  }
  for (const Json& table : facts["tables"]) {
    if (!tables.empty() && !tables.contains(table["name"])) continue;
    text += "\n" + table["name"].get<std::string>() + '\n' + joined(table["head"]);
    for (const Json& row : table["rows"]) text += joined(row);
  }
  return text;
}

/// A page that changed is to be looked at; then the file can be made anew of what is printed here.
void expect_page(const Json& facts, const std::string& name,
                 const std::set<std::string>& tables = {}) {
  std::ifstream file(shmif::test::in_source("tests/perf/report/web/" + name));
  std::ostringstream known;
  known << file.rdbuf();
  std::istringstream wanted(known.str());
  const std::string text = text_of(facts, tables);
  std::istringstream shown(text);
  for (std::string line, other; std::getline(shown, line) && std::getline(wanted, other);) {
    EXPECT_EQ(line, other);
  }
  EXPECT_EQ(text.size(), known.str().size()) << "shown:\n" << text;
}

TEST_F(TablesInABrowser, OfFewJobsEachCellIsTheFigureThatItsColumnNames) {
  const Json& facts = shown("few", test::few_jobs_json());
  expect_page(facts, "few.txt");
  for (const Json& table : facts["tables"]) EXPECT_TRUE(table["folded"].is_null()) << table["name"];
  const std::string told = facts["problems"].dump();
  for (const Json& job : test::few_jobs_json()["jobs"]) {
    for (const Json& problem : job["problems"]) {
      const std::string text = problem["text"].dump();
      EXPECT_NE(told.find(text.substr(1, text.size() - 2)), std::string::npos) << text;
    }
  }
}

TEST_F(TablesInABrowser, OfSearchesRepetitionsAndFaultsEachCellIsTheFigureThatItsColumnNames) {
  const Json& facts = shown("searches", test::searches_json());
  expect_page(facts, "searches.txt",
              {"Highest rate without loss (RFC 2544)", "Highest rate within the permitted loss",
               "Highest rate within the latency target", "Repetitions", "Faults on purpose"});
  EXPECT_EQ(std::ranges::count_if(facts["notes"],
                                  [](const Json& note) {
                                    return note.get<std::string>().starts_with(
                                        "Figures and curves of a search are those of one trial.");
                                  }),
            1);
}

TEST_F(TablesInABrowser, EachServerHasItsRowAndItsCpus) {
  expect_page(shown("servers", Json::parse(test::served_sample_json())), "servers.txt",
              {"Servers", "CPUs over the measured window"});
}

TEST_F(TablesInABrowser, OfManyJobsGroupsAreShownAndJobsAreFolded) {
  const Json& facts = shown("many", test::many_jobs_json());
  using Fold = std::pair<std::size_t, std::string>;
  const std::vector<std::pair<const char*, Fold>> wanted = {
      {"At a glance", {10, ""}},
      {"More groups", {2, "and 2 more groups"}},
      {"Jobs at a glance", {24, "each of the 24 jobs"}},
      {"Traffic", {24, ""}},
      {"Traffic of single jobs", {48, "48 rows of single jobs"}},
      {"CPU and trust", {12, ""}},
      {"CPU and trust of single jobs", {48, "48 rows of single jobs"}},
      {"Counts", {48, "48 jobs"}},
      {"Jobs", {48, "48 jobs"}}};
  for (const auto& [name, fold] : wanted) {
    const Shown table = table_of(facts, name);
    EXPECT_EQ(Fold(table.rows.size(), table.folded.value_or("")), fold) << name;
  }
  const Json& group = test::many_jobs_json()["groups"][11];
  const Cells last = table_of(facts, "More groups").rows.at(1);
  EXPECT_EQ(last.at(0).second, group["groupname"]);
  EXPECT_EQ(last.at(4).second, fps(group["rx"]["rate_fps"]));
}

// ---- What is not in these ----

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

TEST_F(TablesInABrowser, OfRepetitionsEachFigureIsTheMedianAndNotThatOfTheRunThatIsShown) {
  const Json& facts = shown("repeated", test::repeated_json());
  LatencyHistogram middle;
  record(middle, 2000, 970);
  record(middle, 2500, 30);
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

TEST_F(TablesInABrowser, TheHeadSaysHowTheRunEndedAndWhatWasLost) {
  Json result = test::few_jobs_json();
  std::uint64_t lost = 0;
  for (const Json& job : result["jobs"]) {
    if (!job["loss"].is_null()) lost += job["loss"]["lost_frames"].get<std::uint64_t>();
  }
  // Faults that the user asked for explain all losses, and then some of them.
  result["passed"] = true;
  result["failures"] = Json::array();
  result["exit_code"] = 0;
  result["steady_state"] = "reached at 12 s";
  result["links"] = test::searches_json()["links"];
  Json& link = result["links"][0];
  result["links"].erase(1);
  link["lost_frames"] = lost - 1;
  link["queue_full_frames"] = 0;
  link["under_way_frames"] = 1;
  const Json& all = shown("head-all", result);
  EXPECT_EQ(all["verdict"], Json::array({"PASSED"}));
  EXPECT_TRUE(all["head"][0].get<std::string>().ends_with(
      " · exit code 0 · " + format_count(lost) +
      " frames lost by the requested faults · steady state reached at 12 s"))
      << all["head"];
  link["lost_frames"] = lost - 3;
  link["queue_full_frames"] = 2;
  result["passed"] = false;
  result["stopped_by_signal"] = 2;
  const Json& some = shown("head-some", result);
  EXPECT_EQ(some["verdict"], Json::array({"STOPPED"}));
  EXPECT_TRUE(some["head"][0].get<std::string>().ends_with(
      " · stopped by SIGINT · " + format_count(lost) + " frames lost, no more than " +
      format_count(lost - 2) +
      " of them by the requested faults and 2 by the full queue of a fault · steady state reached "
      "at 12 s"))
      << some["head"];
}

/// The result of few jobs with lines that were asked to do so much to the frames, on purpose.
Json asked_for(std::uint64_t lost, std::uint64_t others) {
  Json result = test::few_jobs_json();
  Json line = test::searches_json()["links"][0];
  line["lost_frames"] = lost;
  line["queue_full_frames"] = line["under_way_frames"] = 0;
  for (const char* fate :
       {"duplicated_frames", "reordered_frames", "corrupted_frames", "truncated_frames"}) {
    line[fate] = others;
  }
  result["links"] = Json::array();
  for (Json& job : result["jobs"]) {
    line["jobname"] = job["jobname"];
    result["links"].push_back(line);
    if (job["loss"].is_null()) continue;
    for (Json& flow : job["loss"]["flows"]) {
      flow["late_frames"] = flow["cancelled_frames"] = flow["unverified_frames"] = 0;
    }
    job["problems"].push_back({{"kind", "loss"}, {"text", "some lost"}});
  }
  return result;
}

/// The marks ("!" bad, "~" asked for) of the cells below `head`.
std::string marks_below(const Json& facts, const std::string& table, const std::string& head) {
  std::string marks;
  for (const Cells& row : table_of(facts, table).rows) {
    for (const auto& [name, text] : row) {
      if (name == head) marks += text.ends_with('!') ? '!' : text.ends_with('~') ? '~' : ' ';
    }
  }
  return marks;
}

TEST_F(TablesInABrowser, LossesThatWereAskedForAreNoFault) {
  const std::uint64_t enough = 1'000'000'000;
  const Json& none = shown("asked-none", asked_for(0, 0));
  const Json& all = shown("asked-all", asked_for(enough, enough));
  const Json& others = shown("asked-others", asked_for(0, enough));
  const Json& losses = shown("asked-losses", asked_for(enough, 0));
  const auto with = [](std::string marks, char mark) {
    std::ranges::replace(marks, '!', mark);
    return marks;
  };
  for (const auto& [table, head] : {std::pair{"At a glance", "lost"},
                                    {"What became of the frames", "lost"},
                                    {"What became of the frames", "duplicate"},
                                    {"What became of the frames", "reordered"},
                                    {"What became of the frames", "corrupt"},
                                    {"What became of the frames", "truncated"}}) {
    const bool is_loss = head == std::string_view("lost");
    const std::string bad = marks_below(none, table, head);
    EXPECT_NE(bad.find('!'), std::string::npos) << table << ' ' << head;
    EXPECT_EQ(marks_below(all, table, head), with(bad, '~')) << table << ' ' << head;
    EXPECT_EQ(marks_below(others, table, head), with(bad, is_loss ? '!' : '~')) << head;
    EXPECT_EQ(marks_below(losses, table, head), with(bad, is_loss ? '~' : '!')) << head;
  }
  const auto bad_losses = [](const Json& facts) {
    return std::ranges::count_if(facts["problems"], [](const Json& problem) {
      return problem["title"] == "loss" && problem["kind"] == "bad";
    });
  };
  EXPECT_GT(bad_losses(none), 0);
  EXPECT_EQ(bad_losses(others), bad_losses(none));
  EXPECT_EQ(bad_losses(losses), bad_losses(none));
  EXPECT_EQ(bad_losses(all), 0);
}

TEST_F(TablesInABrowser, TheFirstFiguresAreThoseThatAReaderLooksFor) {
  const Json& few = shown("few", test::few_jobs_json());
  std::uint64_t received = 0;
  std::uint64_t lost = 0;
  for (const Json& job : test::few_jobs_json()["jobs"]) {
    if (!job["rx"].is_null()) received += job["rx"]["frames"].get<std::uint64_t>();
    if (!job["loss"].is_null()) lost += job["loss"]["lost_frames"].get<std::uint64_t>();
  }
  const Json& figures = few["figures"];
  EXPECT_EQ(figures[0], ": " + format_count(received) + " frames received")
      << "rates of jobs that followed each other do not add up";
  EXPECT_EQ(figures[1], "bad: " + format_count(lost) + " lost");
  const Json& asked = shown("asked-all", asked_for(1'000'000'000, 1'000'000'000));
  EXPECT_EQ(asked["figures"][1], "asked: " + format_count(lost) + " lost");
  Json senders = test::few_jobs_json();
  for (Json& job : senders["jobs"]) job["rx"] = job["loss"] = nullptr;
  const std::string unknown = shown("senders", senders)["figures"].dump();
  EXPECT_NE(unknown.find(" frames sent"), std::string::npos) << unknown;
  EXPECT_EQ(unknown.find("lost"), std::string::npos) << "nobody counted them: " << unknown;
  const Json& one = shown("repeated", test::repeated_json());
  const Json& sink = test::repeated_json()["jobs"][1];
  EXPECT_EQ(one["figures"][0], ": " + bps(sink["rx"]["rate_bps"]) + " received") << one["figures"];
  const Json& searches = shown("searches", test::searches_json());
  const Json& first = test::searches_json()["searches"][0];
  EXPECT_NE(searches["figures"][0].get<std::string>().find(fps(first["found_fps"])),
            std::string::npos)
      << searches["figures"];
}

TEST_F(TablesInABrowser, TheFirstFiguresAreNotOfAQueueThatTheRunItselfFilled) {
  Json result = Json::parse(to_json(test::failed_sample(), Bins::without));
  Json& call = result["jobs"][0];
  call["rw"] = "pingpong";
  result["jobs"][2]["spacing_error_ns"] = nullptr;  // it sends at full speed
  const auto rate = [&](const char* key) {
    return result["jobs"][1]["rx"][key].get<double>() + result["jobs"][3]["rx"][key].get<double>();
  };
  const Json& latency = result["jobs"][1]["latency_ns"];
  Json expected = {": " + format_bps(rate("rate_bps")) + " received",
                   ": " + format_fps(rate("rate_fps")) + " frames", "bad: 22,223 lost",
                   ": " + ns(latency["p50"]) + " round trip, p50, voip",
                   ": " + ns(latency["p99"]) + " round trip, p99, voip"};
  EXPECT_EQ(shown("full-speed", result)["figures"], expected);
  call["tx"]["offered_fps"] = 2 * call["tx"]["rate_fps"].get<double>();
  expected.erase(4);
  expected.erase(3);
  EXPECT_EQ(shown("behind-its-pace", result)["figures"], expected);
}

}  // namespace
}  // namespace shmif::perf::page_cells
