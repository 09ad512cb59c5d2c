// The charts of a page: their curves, percentiles and histograms, marks, axes and legends.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "tests/perf/report/web/in_browser.hpp"
#include "tests/perf/report/web/samples.hpp"

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
