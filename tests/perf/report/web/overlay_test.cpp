// Several results on one page, in a browser: which figure and which curve is of which file.

#include <gtest/gtest.h>

#include <set>

#include "perf/report/html.hpp"
#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/perf/report/web/cells.hpp"
#include "tests/perf/report/web/charts.hpp"

namespace shmif::perf::page_overlay {
namespace {

using Json = nlohmann::json;
using page_cells::table_of;
using page_charts::chart_of;
using page_charts::job_of;

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

const Files& two_runs() {
  static const Files kFiles = {{"results/before.json", json_of(test::quiet_sample())},
                               {"results/after.json", json_of(test::quiet_sample(2, 0.2))}};
  return kFiles;
}

/// Twice the same four jobs, the second time with other figures, without "file" and with "new".
const Files& many_lines() {
  static const Files kFiles = [] {
    Json other = test::few_jobs_json();
    for (Json& job : other["jobs"]) {
      if (job["jobname"] == "file") job["jobname"] = "new";
      for (Json& interval : job["intervals"]) {
        interval["tx_bytes"] = interval["tx_bytes"].get<std::uint64_t>() * 3;
        interval["rx_bytes"] = interval["rx_bytes"].get<std::uint64_t>() * 3;
      }
    }
    return Files{{"a.json", test::few_jobs_json()}, {"b.json", other}};
  }();
  return kFiles;
}

class SeveralInABrowser : public test::PageInABrowser {
 protected:
  static const Json& shown(const char* name, const Files& files,
                           test::Look look = test::Look::light) {
    return facts(std::string("several-") + name, [&] { return page_of(files); }, look);
  }
};

std::vector<std::string> labels_of(const Json& chart) {
  std::vector<std::string> labels;
  for (const Json& series : chart["series"]) labels.push_back(series["label"]);
  return labels;
}

std::set<std::string> texts_of(const Json& chart, const char* key) {
  std::set<std::string> texts;
  for (const Json& series : chart["series"]) texts.insert(series[key].dump());
  return texts;
}

TEST_F(SeveralInABrowser, FiguresOfOneJobStandBelowEachOtherUnderTheNamesOfTheFiles) {
  const Json& page = shown("two", two_runs(), test::Look::thorough);
  EXPECT_EQ(page["verdict"], Json::array({"ALL 2 PASSED"}));
  EXPECT_EQ(page["title"], "all 2 passed · shmifperf report");
  EXPECT_EQ(page["head"], Json::array({"2 results, overlaid: before.json · after.json"}));
  const auto rows = table_of(page, "Side by side").rows;
  ASSERT_EQ(rows.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    const auto& [path, json] = two_runs()[i];
    const std::string name = path.substr(8);
    const Json& sender = json["jobs"][0];
    const Json& receiver = json["jobs"][1];
    const Json& latency = receiver["latency_ns"];
    EXPECT_EQ(rows[i],
              (page_cells::Cells{{"result", name},
                                 {"job", sender["jobname"]},
                                 {"engine", sender["engine"]},
                                 {"offered", page_cells::fps(sender["tx"]["offered_fps"])},
                                 {"sent", page_cells::fps(sender["tx"]["rate_fps"])},
                                 {"received", page_cells::fps(receiver["rx"]["rate_fps"])},
                                 {"bit rate", page_cells::bps(receiver["rx"]["rate_bps"])},
                                 {"lost", page_cells::bad(receiver["loss"]["lost_frames"])},
                                 {"lost share", page_cells::share(receiver["loss"]["lost_share"])},
                                 {"p50", page_cells::ns(latency["p50"])},
                                 {"p99", page_cells::ns(latency["p99"])},
                                 {"p99.9", page_cells::ns(latency["p99_9"])},
                                 {"max", page_cells::ns(latency["max"])},
                                 {"own limit", page_cells::share(sender["limit_share"])}}));
    EXPECT_EQ(page["figures"][i],
              ": " + page_cells::bps(receiver["rx"]["rate_bps"]) + " received, " + name);
    EXPECT_EQ(table_of(page, "Results").rows[i][0].second, name);
  }
  EXPECT_NE(rows[0][5].second, rows[1][5].second) << "the samples differ";
}

TEST_F(SeveralInABrowser, EachChartHasTheCurveOfEachFileUnderItsName) {
  const Json& page = shown("two", two_runs(), test::Look::thorough);
  const std::string job = two_runs()[0].second["jobs"][0]["jobname"];
  const std::vector<std::string> labels = {"before.json: " + job, "after.json: " + job};
  for (const char* const name :
       {"throughput over time", "latency percentiles", "latency histogram", "latency over time"}) {
    const Json& chart = chart_of(page, name);
    EXPECT_EQ(labels_of(chart), labels) << name;
    EXPECT_EQ(texts_of(chart, "colour").size(), 2U) << name;
    EXPECT_EQ(texts_of(chart, "dash").size(), 2U) << name << ": for paper without colours";
  }
  page_charts::Curves expected;
  for (std::size_t i = 0; i < 2; ++i) {
    const Json& receiver = two_runs()[i].second["jobs"][1];
    expected[labels[i]] = page_charts::curve_over_time(receiver, 0, [](const Json& interval) {
      return interval["rx_bytes"].get<double>() * 8 / interval["seconds"].get<double>();
    });
  }
  page_charts::expect_curves(page_charts::curves_of(chart_of(page, "throughput over time")),
                             expected);
}

TEST_F(SeveralInABrowser, AColourIsAFileAndDashesAreAJob) {
  const Json& page = shown("lines", many_lines());
  const Json& chart = chart_of(page, "throughput over time");
  EXPECT_EQ(labels_of(chart),
            (std::vector<std::string>{"a.json: web", "b.json: web", "a.json: load", "b.json: load",
                                      "a.json: file (sent)", "b.json: new (sent)"}));
  std::map<std::string, std::set<std::string>> colours, dashes;
  for (const Json& series : chart["series"]) {
    const auto label = series["label"].get<std::string>();
    colours[label.substr(0, 6)].insert(series["colour"].get<std::string>());
    dashes[label.substr(8)].insert(series["dash"].dump());
  }
  ASSERT_EQ(colours.size(), 2U);
  EXPECT_EQ(colours["a.json"].size(), 1U);
  EXPECT_EQ(colours["b.json"].size(), 1U);
  EXPECT_NE(colours["a.json"], colours["b.json"]);
  ASSERT_EQ(dashes.size(), 4U);
  std::set<std::string> all;
  for (const auto& [job, its] : dashes) {
    EXPECT_EQ(its.size(), 1U) << job;
    all.insert(its.begin(), its.end());
  }
  EXPECT_EQ(all.size(), 4U);
  const Json& frames = page["pressed"]["Throughput over time: frames"];
  EXPECT_EQ(frames["axes"][1]["label"], "received or sent (frames/s)");
  EXPECT_EQ(labels_of(frames), labels_of(chart));
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
  const auto rows = table_of(page, "Results").rows;
  EXPECT_EQ(rows[0][1].second, "passed");
  EXPECT_EQ(rows[1][1].second, "FAILED!");
}

TEST_F(SeveralInABrowser, TheAxisIsDescribedAsItIsInTheChosenUnit) {
  Json other = test::few_jobs_json();
  for (Json& job : other["jobs"]) {
    for (Json& interval : job["intervals"]) {
      interval["tx_frames"] = interval["tx_frames"].get<std::uint64_t>() * 100;
      interval["rx_frames"] = interval["rx_frames"].get<std::uint64_t>() * 100;
    }
  }
  const Json& page = shown("units", {{"a.json", test::few_jobs_json()}, {"b.json", other}});
  const auto logarithmic = [](const Json& text) {
    return text.get<std::string>().find(", logarithmic") != std::string::npos;
  };
  const auto says_so = [](const Json& note) {
    return note.get<std::string>().find("logarithmic; below") != std::string::npos;
  };
  const Json& bits = chart_of(page, "throughput over time");
  EXPECT_FALSE(logarithmic(bits["axes"][1]["label"]));
  for (const Json& note : page["notes"]) EXPECT_FALSE(says_so(note)) << note;
  const Json& frames = page["pressed"]["Throughput over time: frames"];
  EXPECT_TRUE(logarithmic(frames["axes"][1]["label"]));
  EXPECT_TRUE(says_so(frames["note"])) << frames["note"];
}

TEST_F(SeveralInABrowser, RatesThatSearchesFoundStandBelowEachOther) {
  Json slower = json_of(test::search_sample());
  for (Json& search : slower["searches"]) search["found_fps"] = 12'345;
  const Json first = json_of(test::search_sample());
  const Json& page = shown("searches", {{"x.json", first}, {"y.json", slower}});
  const auto rows = table_of(page, "Highest rate without loss (RFC 2544)").rows;
  ASSERT_EQ(rows.size(), 2 * first["searches"].size());
  EXPECT_EQ(rows[0][0].second, "x.json");
  EXPECT_EQ(rows[1][0].second, "y.json");
  EXPECT_EQ(rows[0][1], rows[1][1]) << "the same length of frames";
  EXPECT_EQ(rows[0][3].second, page_cells::fps(first["searches"][0]["found_fps"]));
  EXPECT_EQ(rows[1][3].second, "12.3 k/s");
}

TEST_F(SeveralInABrowser, NamesOfFilesAndJobsAreTextWhateverTheyLookLike) {
  const std::string first = "</script><img src=x onerror=alert(1)>.json";
  const std::string second = "\"';<!--<script>@RESULT@ & &lt;.json";
  const Files files = {{first, json_of(test::hostile_sample())},
                       {second, json_of(test::quiet_sample())}};
  EXPECT_EQ(page_of(files).find("<img"), std::string::npos);
  EXPECT_EQ(page_of(files).find("<!--"), std::string::npos);
  // Faults of the page, also violations of its policy, are told by facts().
  const Json& page = shown("hostile", files, test::Look::thorough);
  const auto rows = table_of(page, "Results").rows;
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0][0].second, "script><img src=x onerror=alert(1)>.json") << "what is behind /";
  EXPECT_EQ(rows[1][0].second, second);
}

}  // namespace
}  // namespace shmif::perf::page_overlay
