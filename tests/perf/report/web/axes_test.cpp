// The axis of throughput for jobs that differ much, and what held them back in the chart.

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/perf/report/web/in_browser.hpp"

namespace shmif::perf::page_axes {
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
