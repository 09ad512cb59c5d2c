// Counted events, memory bandwidth and heat on the page of a run, in a browser.

#include <gtest/gtest.h>

#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/perf/report/web/in_browser.hpp"

namespace shmif::perf::page_measured {
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
