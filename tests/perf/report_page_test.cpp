// The page of shmifperf report, in a browser: nobody who gets it by mail should have to forgive it.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "perf/report/html.hpp"
#include "perf/report/json.hpp"
#include "perf/report/text.hpp"
#include "perf/report/units.hpp"
#include "sample_results.hpp"
#include "served_sample.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::json;

std::string page_of(const RunResult& run, Bins bins = Bins::with) {
  return to_html(Report::parse(to_json(run, bins), "sample").value()).value();
}

/// What tests/perf/look_at_page.py has against a page, and what it read on it.
struct Look {
  int status = 0;
  std::string said;
  Json facts;
};

Look look_at(const std::string& page) {
  const test::TempDir dir("/tmp");
  std::ofstream(dir.file("page.html")) << page;
  const auto seen =
      test::run_program({SHMIF_PYTHON, SHMIF_LOOK_AT_PAGE, dir.file("page.html"), dir.path()}, {},
                        std::chrono::seconds(150));
  Look look{seen.status, seen.out + seen.err, {}};
  std::ifstream facts(dir.file("facts.json"));
  if (facts) look.facts = Json::parse(facts);
  return look;
}

class EachPage : public testing::TestWithParam<const char*> {};

TEST_P(EachPage, IsFaultlessOnScreensLightAndDarkOnAPhoneAndOnPaper) {
  const Look look = look_at(page_of(test::sample_named(GetParam())));
  if (look.status == 77) GTEST_SKIP() << look.said;
  EXPECT_EQ(look.status, 0) << look.said;
  EXPECT_EQ(look.said, "");
  const bool passed = test::sample_named(GetParam()).exit_code == 0;
  EXPECT_EQ(look.facts["title"],
            (passed ? "passed" : "FAILED") + std::string(" · shmifperf report"));
}

INSTANTIATE_TEST_SUITE_P(Report, EachPage,
                         testing::Values("failed", "engines", "search", "unstarted", "hostile"),
                         [](const auto& of) { return std::string(of.param); });

TEST(ReportPage, ShowsTheSameFiguresAsTheText) {
  const RunResult run = test::failed_sample();
  const Look look = look_at(page_of(run, Bins::without));
  if (look.status == 77) GTEST_SKIP() << look.said;
  EXPECT_EQ(look.said, "");
  std::set<std::string> cells;
  for (const auto& cell : look.facts["cells"]) cells.insert(cell.get<std::string>());
  const auto on_page = [](std::string figure) {
    const auto micro = figure.find(" us");
    return micro == std::string::npos ? figure : figure.replace(micro, 3, " µs");
  };
  for (const JobResult& job : run.jobs) {
    for (const auto& histogram : {job.latency, job.service, job.spacing_error}) {
      if (!histogram) continue;
      for (const double p : {50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 100.0}) {
        const auto figure = on_page(format_ns(static_cast<double>(histogram->percentile(p))));
        EXPECT_TRUE(cells.contains(figure)) << figure;
      }
    }
    for (const TrafficResult* t : {&job.tx, &job.rx}) {
      if (t->frames == 0) continue;
      EXPECT_TRUE(cells.contains(format_count(t->frames)));
      const double bps = static_cast<double>(t->bytes) * 8 / t->seconds;
      EXPECT_TRUE(cells.contains(format_bps(bps))) << format_bps(bps);
      EXPECT_TRUE(cells.contains(format_bytes(t->bytes)));
    }
  }
}

TEST(ReportPage, ShowsTheServersOfARunInPlaceOfTheClientsMachine) {
  const Report report = Report::parse(test::served_sample_json(), "served").value();
  const Look look = look_at(to_html(report).value());
  if (look.status == 77) GTEST_SKIP() << look.said;
  EXPECT_EQ(look.said, "");
  std::set<std::string> cells;
  for (const auto& cell : look.facts["cells"]) cells.insert(cell.get<std::string>());
  for (const char* figure : {"77", "12.3 µs", "4.56 µs", "lab-one", "6.1.0-served"}) {
    EXPECT_TRUE(cells.contains(figure)) << figure;
  }
  EXPECT_FALSE(cells.contains("6.1.0-client"));
}

bool notes_say(const Look& look, const std::string& words) {
  const auto& notes = look.facts["notes"];
  return std::any_of(notes.begin(), notes.end(), [&](const auto& note) {
    return note.template get<std::string>().find(words) != std::string::npos;
  });
}

TEST(ReportPage, CallsReceivedWhatWasReceivedAndSentWhatNobodyReceives) {
  RunResult run = test::quiet_sample();
  const Look both = look_at(page_of(run));
  if (both.status == 77) GTEST_SKIP() << both.said;
  EXPECT_TRUE(notes_say(both, "What arrived in each interval"));
  run.jobs.resize(1);
  const Look sent = look_at(page_of(run));
  EXPECT_EQ(sent.said, "");
  EXPECT_TRUE(notes_say(sent, "What was sent in each interval"));
  EXPECT_FALSE(notes_say(sent, "What arrived"));
}

TEST(ReportPage, SaysWhatAResultWithoutBucketsLacks) {
  const Look look = look_at(page_of(test::quiet_sample(), Bins::without));
  if (look.status == 77) GTEST_SKIP() << look.said;
  EXPECT_EQ(look.said, "");
  EXPECT_TRUE(notes_say(look, "--output-format=json+"));
}

TEST(ReportPage, NeedsNothingFromAnywhereAndForbidsItself) {
  const std::string page = page_of(test::engines_sample());
  EXPECT_NE(page.find("default-src 'none'; script-src 'sha256-"), std::string::npos);
  for (const char* unsafe : {"unsafe-inline", "unsafe-eval", "<link", "<script src", "@import",
                             "url(", "https://cdn", " onclick="}) {
    EXPECT_EQ(page.find(unsafe), std::string::npos) << unsafe;
  }
  EXPECT_EQ(page.find("_HASH@"), std::string::npos);
}

TEST(ReportPage, KeepsTheLicenceOfTheLibraryInIt) {
  const std::string page = page_of(test::quiet_sample());
  EXPECT_NE(page.find("The MIT License"), std::string::npos);
  EXPECT_NE(page.find("Leon Sorokin"), std::string::npos);
}

TEST(ReportPage, HoldsTheTextForBrowsersWithoutScripts) {
  const RunResult run = test::quiet_sample();
  const std::string text = to_text(Report::parse(to_json(run, Bins::with), "sample").value());
  EXPECT_NE(page_of(run).find("<pre>" + text.substr(0, text.find("->"))), std::string::npos);
}

TEST(ReportPage, NamesAreTextEvenWhereTheyLookLikeMarkup) {
  const std::string page = page_of(test::hostile_sample());
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(page.find("<!--"), std::string::npos);
  // The page's own two, and no more.
  std::size_t scripts = 0;
  for (auto at = page.find("<script"); at != std::string::npos; at = page.find("<script", at + 1)) {
    ++scripts;
  }
  EXPECT_EQ(scripts, 2U);
}

TEST(ReportPage, MarksOfTheFormInNamesAreLeftAlone) {
  RunResult run = test::quiet_sample();
  run.jobs[0].name = run.jobs[1].peer_of = "@TEXT@ @RESULT@ @SCRIPT@";
  const std::string page = page_of(run);
  EXPECT_NE(page.find("\"jobname\":\"@TEXT@ @RESULT@ @SCRIPT@\""), std::string::npos);
}

}  // namespace
}  // namespace shmif::perf
