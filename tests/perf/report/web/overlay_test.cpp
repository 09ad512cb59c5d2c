// Several results on one page, in a browser: which figure and which curve is of which file.

#include <gtest/gtest.h>

#include "perf/report/html.hpp"
#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/perf/report/web/in_browser.hpp"
#include "tests/perf/report/web/samples.hpp"

namespace shmif::perf::page_overlay {
namespace {

using Json = nlohmann::json;

/// The name of a file and the result in it.
using Files = std::vector<std::pair<std::string, Json>>;

Json json_of(const RunResult& run) {
  return Json::parse(to_json(run, Bins::with));
}

std::string page_of(const Files& files) {
  std::vector<Report> reports;
  for (const auto& [name, json] : files) {
    reports.push_back(Report::parse(json.dump(), name).value());
  }
  return to_html(reports).value();
}

/// Twice the same four jobs, the second time with other figures, without "file" and with "new".
Files many_lines(std::uint64_t factor) {
  Json other = test::few_jobs_json();
  for (Json& job : other["jobs"]) {
    if (job["jobname"] == "file") job["jobname"] = "new";
    for (Json& interval : job["intervals"]) {
      for (const char* key : {"tx_frames", "rx_frames"}) {
        interval[key] = interval[key].get<std::uint64_t>() * factor;
      }
    }
  }
  return {{"a.json", test::few_jobs_json()}, {"b.json", other}};
}

class SeveralInABrowser : public test::PageInABrowser {
 protected:
  static const Json& shown(const char* name, const Files& files,
                           test::Look look = test::Look::light) {
    return facts(std::string("several-") + name, [&] { return page_of(files); }, look);
  }
};

TEST_F(SeveralInABrowser, FiguresAndCurvesStandUnderTheNamesOfTheirFiles) {
  const Json& page = shown("two",
                           {{"results/before.json", json_of(test::quiet_sample())},
                            {"results/after.json", json_of(test::quiet_sample(2, 0.2))}},
                           test::Look::thorough);
  EXPECT_EQ(page["verdict"], Json::array({"ALL 2 PASSED"}));
  EXPECT_EQ(page["title"], "all 2 passed · shmifperf report");
  EXPECT_EQ(page["head"], Json::array({"2 results, overlaid: before.json · after.json"}));
  test::expect_page(
      page, "overlaid.txt",
      {"Side by side", "throughput over time", "latency histogram", "latency over time"});
}

TEST_F(SeveralInABrowser, AColourIsAFileAndDashesAreAJobAndTheAxisIsThatOfTheChosenUnit) {
  const Json& page = shown("lines", many_lines(100));
  test::expect_page(page, "overlaid_lines.txt",
                    {"throughput over time", "Throughput over time: frames"});
  const auto says_so = [](const Json& note) {
    return note.get<std::string>().find("logarithmic; below") != std::string::npos;
  };
  for (const Json& note : page["notes"]) EXPECT_FALSE(says_so(note)) << note;
  EXPECT_TRUE(says_so(page["pressed"]["Throughput over time: frames"]["note"]));
}

TEST_F(SeveralInABrowser, OneThatFailedIsToldAndItsProblemsHaveItsName) {
  const Files files = {{"good.json", json_of(test::quiet_sample())},
                       {"poor.json", json_of(test::failed_sample())}};
  const Json& page = shown("failed", files);
  EXPECT_EQ(page["verdict"], Json::array({"1 OF 2 FAILED"}));
  ASSERT_FALSE(page["problems"].empty());
  for (const Json& problem : page["problems"]) {
    EXPECT_TRUE(problem["text"].get<std::string>().starts_with("poor.json: ")) << problem;
  }
  const Json& rows = test::named(page["tables"], "Results")["rows"];
  EXPECT_EQ(rows[0][1], "passed");
  EXPECT_EQ(rows[1][1], "FAILED!");
}

TEST_F(SeveralInABrowser, RatesThatSearchesFoundStandBelowEachOther) {
  const Json first = json_of(test::search_sample());
  Json slower = first;
  for (Json& search : slower["searches"]) search["found_fps"] = 12'345;
  const Json& page = shown("searches", {{"x.json", first}, {"y.json", slower}});
  const Json& rows = test::named(page["tables"], "Highest rate without loss (RFC 2544)")["rows"];
  ASSERT_EQ(rows.size(), 2 * first["searches"].size());
  EXPECT_EQ(rows[0][0], "x.json");
  EXPECT_EQ(rows[1][0], "y.json");
  EXPECT_EQ(rows[0][1], rows[1][1]) << "the same length of frames";
  EXPECT_NE(rows[0][3], "12.3 k/s");
  EXPECT_EQ(rows[1][3], "12.3 k/s");
}

TEST_F(SeveralInABrowser, NamesOfFilesAndJobsAreTextWhateverTheyLookLike) {
  const std::string first = "</script><img src=x onerror=alert(1)>.json";
  const std::string second = "\"';<!--<script>@RESULT@ & &lt;.json";
  const Files files = {{first, json_of(test::hostile_sample())},
                       {second, json_of(test::quiet_sample())}};
  EXPECT_EQ(page_of(files).find("<img"), std::string::npos);
  EXPECT_EQ(page_of(files).find("<!--"), std::string::npos);
  // Faults of the page, also violations of its policy, are told by facts().
  const Json& rows =
      test::named(shown("hostile", files, test::Look::thorough)["tables"], "Results")["rows"];
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0][0], "script><img src=x onerror=alert(1)>.json") << "what is behind /";
  EXPECT_EQ(rows[1][0], second);
}

}  // namespace
}  // namespace shmif::perf::page_overlay
