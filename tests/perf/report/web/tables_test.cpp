// What the page tells of a run. Pages of which each figure has a value of its own are compared as a
// whole, with few.txt, searches.txt and others.

#include <algorithm>
#include <utility>

#include "perf/report/table.hpp"
#include "tests/perf/remote/served_sample.hpp"
#include "tests/perf/report/web/in_browser.hpp"

namespace shmif::perf::page_tables {
namespace {

using Json = nlohmann::json;

class TablesInABrowser : public test::PageInABrowser {};

const Json& rows_of(const Json& facts, const std::string& table) {
  return test::named(facts["tables"], table)["rows"];
}

// ---- Whole pages ----

TEST_F(TablesInABrowser, OfFewJobsEachCellIsTheFigureThatItsColumnNames) {
  const Json& facts = facts_of("own-few", test::few_jobs_json());
  test::expect_page(facts, "few.txt");
  const std::string told = facts["problems"].dump();
  for (const Json& job : test::few_jobs_json()["jobs"]) {
    for (const Json& problem : job["problems"]) {
      const std::string text = problem["text"].dump();
      EXPECT_NE(told.find(text.substr(1, text.size() - 2)), std::string::npos) << text;
    }
  }
}

TEST_F(TablesInABrowser, OfSearchesRepetitionsAndFaultsEachCellIsTheFigureThatItsColumnNames) {
  const Json& facts = facts_of("own-searches", test::searches_json());
  test::expect_page(
      facts, "searches.txt",
      {"Highest rate without loss (RFC 2544)", "Highest rate within the permitted loss",
       "Highest rate within the latency target", "Repetitions", "Faults on purpose",
       "trials: Highest rate without loss (RFC 2544)"});
  EXPECT_EQ(test::notes_with(facts, "Figures and curves of a search are those of one trial."), 1);
}

TEST_F(TablesInABrowser, EachServerHasItsRowAndItsCpus) {
  test::expect_page(facts_of("own-servers", Json::parse(test::served_sample_json())), "servers.txt",
                    {"Servers", "CPUs over the measured window"});
}

TEST_F(TablesInABrowser, OfRepetitionsEachFigureIsTheMedianAndNotThatOfTheRunThatIsShown) {
  const Json& facts = facts_of("own-repeated", test::repeated_json());
  test::expect_page(facts, "repeated.txt", {"At a glance"});
  EXPECT_EQ(
      test::notes_with(facts, "Medians of 3 runs; counts, curves and buckets are those of run 1."),
      1);
}

TEST_F(TablesInABrowser, OfManyJobsGroupsAreShownAndJobsAreFolded) {
  const Json& facts = facts_of("own-many", test::many_jobs_json());
  struct Fold {
    const char* table;
    std::size_t rows;
    const char* title;
  };
  for (const Fold& fold : {Fold{"At a glance", 10, ""},
                           {"More groups", 2, "and 2 more groups"},
                           {"Jobs at a glance", 24, "each of the 24 jobs"},
                           {"Traffic", 24, ""},
                           {"Traffic of single jobs", 48, "48 rows of single jobs"},
                           {"CPU and trust", 12, ""},
                           {"CPU and trust of single jobs", 48, "48 rows of single jobs"},
                           {"Counts", 48, "48 jobs"},
                           {"Jobs", 48, "48 jobs"}}) {
    const Json& table = test::named(facts["tables"], fold.table);
    EXPECT_EQ(table["rows"].size(), fold.rows) << fold.table;
    EXPECT_EQ(table["folded"].is_null() ? "" : table["folded"], fold.title) << fold.table;
  }
  EXPECT_EQ(rows_of(facts, "More groups")[1][0], test::many_jobs_json()["groups"][11]["groupname"]);
}

// ---- What is not in these ----

TEST_F(TablesInABrowser, ErrorsThatJobsWentOnAfterAreCountedByTheirClass) {
  Json result = test::few_jobs_json();
  Json& jobs = result["jobs"];
  jobs[0]["errors_by_class"]["tx"] = {
      {"count", 1234}, {"first", "<b>first</b>"}, {"reason", nullptr}};
  jobs[0]["errors_by_class"]["lock"] = {{"count", 2}, {"first", nullptr}, {"reason", "unread"}};
  jobs[1]["errors_by_class"]["rx"] = {{"count", nullptr}, {"first", nullptr}, {"reason", "killed"}};
  jobs[2].erase("errors_by_class");  // as in older results
  jobs[3]["errors_by_class"]["verify"] = {{"count", 1}, {"first", "last"}, {"reason", nullptr}};
  EXPECT_EQ(rows_of(facts_of("own-errors", result), "Errors"),
            Json::array({{"web tx", "1,234", "<b>first</b>"},
                         {"web lock", "2", "-"},
                         {"load.peer verify", "1", "last"}}));
}

std::uint64_t sum_of(const Json& result, const char* of, const char* key) {
  std::uint64_t sum = 0;
  for (const Json& job : result["jobs"]) {
    if (!job[of].is_null()) sum += job[of][key].get<std::uint64_t>();
  }
  return sum;
}

TEST_F(TablesInABrowser, TheHeadSaysHowTheRunEndedAndWhatWasLost) {
  Json result = test::few_jobs_json();
  const std::uint64_t lost = sum_of(result, "loss", "lost_frames");
  // Faults that the user asked for explain all losses, and then some of them.
  result["passed"] = true;
  result["failures"] = Json::array();
  result["exit_code"] = 0;
  result["steady_state"] = "reached at 12 s";
  result["links"] = Json::array({test::searches_json()["links"][0]});
  Json& link = result["links"][0];
  link["lost_frames"] = lost - 1;
  link["queue_full_frames"] = 0;
  link["under_way_frames"] = 1;
  const auto expect = [&](const char* page, const char* verdict, const std::string& end) {
    const Json& facts = facts_of(page, result);
    EXPECT_EQ(facts["verdict"], Json::array({verdict}));
    EXPECT_TRUE(
        facts["head"][0].get<std::string>().ends_with(end + " · steady state reached at 12 s"))
        << facts["head"];
  };
  expect("own-head-all", "PASSED",
         " · exit code 0 · " + format_count(lost) + " frames lost by the requested faults");
  link["lost_frames"] = lost - 3;
  link["queue_full_frames"] = 2;
  result["passed"] = false;
  result["stopped_by_signal"] = 2;
  expect("own-head-some", "STOPPED",
         " · stopped by SIGINT · " + format_count(lost) + " frames lost, no more than " +
             format_count(lost - 2) +
             " of them by the requested faults and 2 by the full queue of a fault");
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
std::string marks_below(const Json& facts, const std::string& name, const std::string& head) {
  const Json& table = test::named(facts["tables"], name);
  const auto column = std::ranges::find(table["head"], Json(head)) - table["head"].begin();
  std::string marks;
  for (const Json& row : table["rows"]) {
    const auto text = row[static_cast<std::size_t>(column)].get<std::string>();
    marks += text.ends_with('!') ? '!' : text.ends_with('~') ? '~' : ' ';
  }
  return marks;
}

TEST_F(TablesInABrowser, LossesThatWereAskedForAreNoFault) {
  const std::uint64_t enough = 1'000'000'000;
  const Json& none = facts_of("own-asked-none", asked_for(0, 0));
  const Json& all = facts_of("own-asked-all", asked_for(enough, enough));
  const Json& others = facts_of("own-asked-others", asked_for(0, enough));
  const Json& losses = facts_of("own-asked-losses", asked_for(enough, 0));
  const char* const fates = "What became of the frames";
  for (const auto& [table, head] : {std::pair{"At a glance", "lost"},
                                    {fates, "lost"},
                                    {fates, "duplicate"},
                                    {fates, "reordered"},
                                    {fates, "corrupt"},
                                    {fates, "truncated"}}) {
    SCOPED_TRACE(head);
    const bool is_loss = head == std::string_view("lost");
    const std::string bad = marks_below(none, table, head);
    std::string asked = bad;
    std::ranges::replace(asked, '!', '~');
    EXPECT_NE(bad, asked);
    EXPECT_EQ(marks_below(all, table, head), asked);
    EXPECT_EQ(marks_below(others, table, head), is_loss ? bad : asked);
    EXPECT_EQ(marks_below(losses, table, head), is_loss ? asked : bad);
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
  EXPECT_TRUE(all["figures"][1].get<std::string>().starts_with("asked: ")) << all["figures"];
}

TEST_F(TablesInABrowser, TheFirstFiguresAreThoseThatAReaderLooksFor) {
  const Json& result = test::few_jobs_json();
  EXPECT_EQ(facts_of("own-few", result)["figures"][0],
            ": " + format_count(sum_of(result, "rx", "frames")) + " frames received")
      << "rates of jobs that followed each other do not add up";
  Json senders = result;
  for (Json& job : senders["jobs"]) job["rx"] = job["loss"] = nullptr;
  const std::string unknown = facts_of("own-senders", senders)["figures"].dump();
  EXPECT_NE(unknown.find(" frames sent"), std::string::npos) << unknown;
  EXPECT_EQ(unknown.find("lost"), std::string::npos) << "nobody counted them: " << unknown;
  EXPECT_EQ(facts_of("own-repeated", test::repeated_json())["figures"][0],
            ": " + format_bps(test::repeated_json()["jobs"][1]["rx"]["rate_bps"].get<double>()) +
                " received");
  const Json& first = test::searches_json()["searches"][0];
  const auto searched =
      facts_of("own-searches", test::searches_json())["figures"][0].get<std::string>();
  EXPECT_NE(searched.find(format_fps(first["found_fps"].get<double>())), std::string::npos)
      << searched;
}

TEST_F(TablesInABrowser, TheFirstFiguresAreNotOfAQueueThatTheRunItselfFilled) {
  Json result = Json::parse(to_json(test::failed_sample(), Bins::without));
  Json& call = result["jobs"][0];
  call["rw"] = "pingpong";
  result["jobs"][2]["spacing_error_ns"] = nullptr;  // it sends at full speed
  const auto round_trips = [](const Json& facts) {
    return std::ranges::count_if(facts["figures"], [](const Json& figure) {
      return figure.get<std::string>().ends_with(" round trip, p99, voip");
    });
  };
  EXPECT_EQ(round_trips(facts_of("own-full-speed", result)), 1);
  call["tx"]["offered_fps"] = 2 * call["tx"]["rate_fps"].get<double>();
  EXPECT_EQ(round_trips(facts_of("own-behind-its-pace", result)), 0);
}

}  // namespace

}  // namespace shmif::perf::page_tables

namespace shmif::perf::page_measured {

// Counted events, memory bandwidth and heat on the page of a run, in a browser.

namespace {

using Json = nlohmann::json;

class MeasuredInABrowser : public test::PageInABrowser {};

TEST_F(MeasuredInABrowser, EachEventHasItsRowItsReasonAndItsCurve) {
  const Json& facts =
      MeasuredInABrowser::facts("counted", [] { return test::page_of(test::counted_sample()); });
  test::expect_page(
      facts, "counted.txt",
      {"Counters", "counters over time", "Counters: cycles", "Counters: instructions"});
  EXPECT_FALSE(facts["pressed"].contains("Counters: cache-misses"));
}

TEST_F(MeasuredInABrowser, EachSourceHasItsRowAndThoseWithBytesALine) {
  test::expect_page(
      MeasuredInABrowser::facts("measured", [] { return test::page_of(test::measured_sample()); }),
      "measured.txt", {"Memory bandwidth", "memory bandwidth over time"});
}

TEST_F(MeasuredInABrowser, TheHeatOfAJobIsDrawnOnTheTimeAxisOfTheThroughputAndIsThereAsText) {
  const Json& facts = MeasuredInABrowser::facts(
      "heated", [] { return test::page_of(test::heated_sample()); }, test::Look::thorough);
  test::expect_page(facts, "heated.txt", {"Heat of the bus", "Map of bulk"});
  ASSERT_EQ(facts["heats"].size(), 1U) << "the other job has only a reason";
  const Json& heat = facts["heats"][0];
  EXPECT_NEAR(heat["left"].get<double>(), 0, 1) << "as the chart";
  EXPECT_NEAR(heat["wider"].get<double>(), 0, 1);
  // Cells of the header, of the ports, in the first fourth of the ring and in the last.
  const auto at = [&](double seconds, int cell) {
    return heat["at"][seconds < 2 ? 0 : seconds < 4 ? 1 : 2][cell];
  };
  const std::string none = at(1, 3);
  const std::string every = at(1, 12);
  EXPECT_EQ(none, "#ffffff");
  EXPECT_EQ(every, "#08306b");
  EXPECT_NE(at(1, 0), none);
  EXPECT_NE(at(1, 0), every);
  EXPECT_EQ(at(1, 60), none);
  EXPECT_EQ(at(3, 60), every);
  EXPECT_NE(at(5, 60), none) << "it was not looked at then";
  EXPECT_NE(at(5, 60), every);
  EXPECT_EQ(heat["says"],
            "bulk, ring at 933 KiB, 3.0 s to 4.0 s: used in 100 % of 10 looks, written in 100 %");
}

/// The heated sample, with the same shares in all cells.
Json alike(double used, const Json& written) {
  Json json = Json::parse(to_json(test::heated_sample(), Bins::with));
  for (Json& row : json["jobs"][0]["heat"]["map"]["rows"]) {
    for (Json& share : row["accessed"]) share = used;
    if (written.is_null()) {
      row["written"] = nullptr;
      continue;
    }
    for (Json& share : row["written"]) share = written;
  }
  return json;
}

TEST_F(MeasuredInABrowser, AMapOfOneHeatIsASentenceAndNotAPicture) {
  const Json& all = facts_of("alike", alike(0.5, 0));
  EXPECT_TRUE(all["heats"].empty());
  EXPECT_EQ(test::notes_with(all,
                             "bulk: all 64 parts of its bus were used alike, in 50.0 % of the "
                             "looks from 0.0 s to 4.0 s, and nothing was written."),
            1);
  const Json& none = facts_of("alike-none", alike(0, nullptr));
  EXPECT_EQ(test::notes_with(none, "bulk: no part of its bus was used from 0.0 s to 4.0 s."), 1);
  Json one = alike(0.5, 0.25);
  one["jobs"][0]["heat"]["map"]["rows"][1]["written"][63] = 0.5;
  EXPECT_EQ(facts_of("alike-but-one", one)["heats"].size(), 1U)
      << "one cell was written more often";
}

}  // namespace

}  // namespace shmif::perf::page_measured
