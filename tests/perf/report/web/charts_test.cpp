// The charts of a page: their curves, percentiles and histograms, marks, axes and legends.

#include <algorithm>
#include <cmath>

#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/perf/report/web/in_browser.hpp"

namespace shmif::perf::page_charts {
namespace {

using Json = nlohmann::json;

class ChartsInABrowser : public test::PageInABrowser {};

TEST_F(ChartsInABrowser, OfManyJobsTheRatesOfAGroupAreAddedUp) {
  test::expect_page(facts_of("own-many", test::many_jobs_json()), "many.txt",
                    {"throughput over time", "Throughput over time: frames"});
}

TEST_F(ChartsInABrowser, WithoutBucketsTheCurveHasThePercentilesThatTheResultNames) {
  const Json& page = facts_of("own-few-without-bins", test::few_jobs_json_without_bins());
  test::expect_page(page, "without_bins.txt", {"latency percentiles"});
  for (const Json& each : page["charts"]) EXPECT_NE(each["name"], "latency histogram");
}

/// few.txt and many.txt have the times of the marks.
TEST_F(ChartsInABrowser, MarksOfLossesAreAsHighAsTheirShareOfTheMostThatWereLost) {
  const Json& chart =
      test::named(facts_of("own-few", test::few_jobs_json())["charts"], "throughput over time");
  double last = 0, most = 0;
  for (const Json& mark : chart["losses"]) {
    most = std::max(most, mark["height"].get<double>());
    EXPECT_GE(mark["height"].get<double>(), 0.015) << "it is seen";
    last = mark["height"];
  }
  EXPECT_NEAR(most, 0.25, 0.005);
  EXPECT_NEAR(last, 0.25 * 53 / 401, 0.005);
}

/// The share at a place on the axis, which counts nines: 90 % is at one, 99 % at two.
double share_at(double nines) {
  return 1 - std::pow(10, -nines);
}

TEST_F(ChartsInABrowser, TheCurveOfPercentilesIsThatOfTheBuckets) {
  const Json& result = test::few_jobs_json();
  const Json& chart = test::named(facts_of("own-few", result)["charts"], "latency percentiles");
  ASSERT_EQ(chart["series"].size(), 2U);
  for (const auto& [line, job] : {std::pair(0, 0), std::pair(1, 3)}) {  // "web", "load.peer"
    const Json& h = result["jobs"][job]["latency_ns"];
    const double all = h["count"];
    double last = -0.02, greatest = 0;
    for (std::size_t i = 0; i < chart["x"].size(); ++i) {
      const Json& ns = chart["series"][line]["values"][i];
      if (ns.is_null()) continue;
      const double x = chart["x"][i];
      EXPECT_LT(x - last, 0.021) << "a gap";
      last = x;
      greatest = ns;
      // The first end of a bucket up to which there is that share of the frames; at last, all.
      double below = 0, up_to = 0;
      for (const Json& bin : h["bins"]) {
        const double end = std::min(bin[1].get<double>(), h["max"].get<double>());
        if (end <= ns) up_to += bin[2].get<double>();
        if (end < ns) below += bin[2].get<double>();
      }
      EXPECT_GE(up_to, share_at(x) * all - 1e-3) << x;
      EXPECT_TRUE(below < std::max(share_at(x) * all, 0.5) || ns == h["max"]) << x;
    }
    EXPECT_NEAR(last, std::log10(all), 1e-9);
    EXPECT_EQ(greatest, h["max"]);
  }
}

}  // namespace

}  // namespace shmif::perf::page_charts

namespace shmif::perf::page_axes {

// The axis of throughput for jobs that differ much, and what held them back in the chart.

namespace {

using Json = nlohmann::json;

class AxesInABrowser : public test::PageInABrowser {
 protected:
  static const Json& throughput(const Json& facts) {
    return test::named(facts["charts"], "throughput over time");
  }
};

/// Two jobs that send 20 and `other` Mbit/s; the first sends nothing in one interval.
Json apart_by(double other) {
  Json result = Json::parse(to_json(test::failed_sample(), Bins::without));
  for (Json& job : result["jobs"]) {
    const bool first = job["jobname"].get<std::string>().starts_with("voip");
    double bytes = (first ? 20e6 : other * 1e6) / 8;
    for (Json& interval : job["intervals"]) {
      const auto whole = static_cast<std::uint64_t>(bytes * interval["seconds"].get<double>());
      interval["rx_bytes"] = interval["tx_bytes"] = whole;
    }
    if (first) job["intervals"][5]["rx_bytes"] = 0;
  }
  return result;
}

TEST_F(AxesInABrowser, AreLogarithmicIfJobsDifferByMoreThanAFactorOfTen) {
  const Json& facts = facts_of("own-far", apart_by(2000));
  const Json& chart = throughput(facts);
  EXPECT_EQ(chart["axes"][1]["label"], "received (bit/s), logarithmic");
  EXPECT_EQ(1, test::notes_with(facts,
                                "The curves differ by more than a factor of ten, so the axis is "
                                "logarithmic; below 10 Mbit/s it is linear, down to 0."));
  EXPECT_EQ(chart["scales"]["y"][0], 0) << "where the interval without a frame is";
  EXPECT_GE(chart["scales"]["y"][1].get<double>(), 2e9);
  EXPECT_EQ(chart["axes"][1]["says"],
            Json::array({"0", "10 Mbit/s", "20 Mbit/s", "50 Mbit/s", "100 Mbit/s", "200 Mbit/s",
                         "500 Mbit/s", "1 Gbit/s", "2 Gbit/s"}));
  for (const Json& series : chart["series"]) {
    if (series["label"] != "voip") continue;
    EXPECT_EQ(std::ranges::count(series["values"], Json(0)), 1) << "it is 0, not a small number";
  }
  EXPECT_EQ(facts["pressed"]["Throughput over time: frames"]["axes"][1]["label"],
            "received (frames/s), logarithmic");
}

TEST_F(AxesInABrowser, StayLinearIfJobsDifferByAFactorOfTen) {
  const Json& facts = facts_of("own-near", apart_by(200));
  const Json& chart = throughput(facts);
  EXPECT_EQ(chart["axes"][1]["label"], "received (bit/s)");
  EXPECT_EQ(test::notes_with(facts, "logarithmic; below"), 0);
}

TEST_F(AxesInABrowser, AreTintedWhileSomethingHeldAJobBackAndEachCauseIsNamedOnce) {
  const Json& facts = facts_of("own-far", apart_by(2000));
  const Json& tints = throughput(facts)["tints"];
  ASSERT_EQ(tints.size(), 3U) << "as many as causes";
  constexpr double kPixel = 0.1;
  const Json result = apart_by(2000);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(tints[i]["from"], result["causes"][i]["begin_s"], kPixel) << i;
    EXPECT_NEAR(tints[i]["to"], result["causes"][i]["end_s"], kPixel) << i;
  }
  std::vector<std::string> names;
  std::string said;
  for (const Json& each : facts["tints"]) {
    names.push_back(each["name"]);
    said += each["says"].get<std::string>() + '\n';
  }
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{"moved between CPUs", "stopped", "waited for a CPU"}));
  for (const Json& cause : result["causes"]) {
    EXPECT_NE(said.find(cause["sentence"].get<std::string>() + '\n'), std::string::npos) << said;
  }
  std::set<std::string> colours;
  for (const Json& tint : tints) colours.insert(tint["colour"].get<std::string>());
  EXPECT_EQ(colours.size(), 3U);
}

TEST_F(AxesInABrowser, AreTintedOnceWhereCausesOfOneKindOverlap) {
  Json result = apart_by(2000);
  Json first = result["causes"][0];
  Json second = first;
  first["begin_s"] = 1.0;
  first["end_s"] = 4.0;
  first["share"] = 0.25;
  second["begin_s"] = 2.0;
  second["end_s"] = 6.0;
  second["share"] = 0.75;
  result["causes"] = Json::array({first, second, first});
  const Json tints = throughput(facts_of("own-overlap", result))["tints"];
  ASSERT_EQ(tints.size(), 2U) << tints;
  constexpr double kPixel = 0.1;
  EXPECT_NEAR(tints[0]["from"], 1.0, kPixel);
  EXPECT_NEAR(tints[0]["to"], 2.0, kPixel);
  EXPECT_NEAR(tints[1]["from"], 2.0, kPixel);
  EXPECT_NEAR(tints[1]["to"], 6.0, kPixel) << "the larger share counts where both are";
  EXPECT_NEAR(tints[0]["opacity"], 0.08 + 0.16 * 0.25, 1e-6);
  EXPECT_NEAR(tints[1]["opacity"], 0.08 + 0.16 * 0.75, 1e-6);
}

}  // namespace

}  // namespace shmif::perf::page_axes

namespace shmif::perf::page_overlay {

// Several results on one page, in a browser: which figure and which curve is of which file.

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
