// Counted events and memory bandwidth on the page of a run, in a browser.

#include <gtest/gtest.h>

#include <algorithm>

#include "perf/report/report.hpp"
#include "tests/perf/report/measured_sample.hpp"
#include "tests/perf/report/web/in_browser.hpp"

namespace shmif::perf::page_measured {
namespace {

using Json = nlohmann::json;

class MeasuredInABrowser : public test::PageInABrowser {};

const Json& table(const Json& facts, const std::string& name) {
  for (const Json& each : facts["tables"]) {
    if (each["name"] == name) return each;
  }
  throw std::runtime_error("no table " + name);
}

TEST_F(MeasuredInABrowser, EachEventHasItsRowAndItsReason) {
  const Json& facts =
      MeasuredInABrowser::facts("counted", [] { return test::page_of(test::counted_sample()); });
  const Json& counters = table(facts, "Counters");
  EXPECT_EQ(counters["head"],
            Json::array({"event", "value", "per frame", "counted for", "why not"}));
  EXPECT_EQ(counters["rows"],
            Json::array({{"bulk task-clock", "3.00 ms", "1.50 µs", "100 %", ""},
                         {"bulk cycles", "4,000,000", "2,000", "50.0 %", ""},
                         {"bulk instructions", "10,000,000", "5,000", "100 %", ""},
                         {"bulk cache-misses", "-", "-", "-", "not supported: no such event"},
                         {"bulk instructions per cycle", "2.5", "-", "-", ""}}));
}

TEST_F(MeasuredInABrowser, TheCountersAreDrawnOneEventAtATime) {
  const Json& facts =
      MeasuredInABrowser::facts("counted", [] { return test::page_of(test::counted_sample()); });
  const Json* drawn = nullptr;
  for (const Json& chart : facts["charts"]) {
    if (chart["section"] == "Counters") drawn = &chart;
  }
  ASSERT_NE(drawn, nullptr);
  EXPECT_EQ((*drawn)["x"][0], 0) << "the time axis of the run";
  EXPECT_EQ((*drawn)["axes"][1]["label"], "task-clock (of a CPU)");
  const Json& says = (*drawn)["series"][0]["says"];
  EXPECT_EQ(says[1], "0.100 %") << "1 ms in 1 s";
  EXPECT_EQ(says[2], "0.133 %") << "2 ms in 1.5 s";
  const Json& cycles = facts["pressed"]["Counters: cycles"];
  EXPECT_EQ(cycles["series"][0]["says"][1], "1.00 M/s");
  EXPECT_EQ(cycles["series"][0]["says"][2], "-") << "it was not counted";
  EXPECT_FALSE(facts["pressed"].contains("Counters: cache-misses"));
}

TEST_F(MeasuredInABrowser, EachSourceHasItsRowAndThoseWithBytesALine) {
  const Json& facts =
      MeasuredInABrowser::facts("measured", [] { return test::page_of(test::measured_sample()); });
  const Json& sources = table(facts, "Memory bandwidth");
  EXPECT_EQ(sources["rows"], Json::array({{"software:bus", "machine", "copied", "2", "1.00 MB/s",
                                           "2.00 MB/s", "3.00 MB/s", "3.00 kB", ""},
                                          {"pmu", "machine", "dram", "-", "-", "-", "-", "-",
                                           "no PMU of a memory controller"}}));
  bool drawn = false;
  for (const Json& chart : facts["charts"]) {
    if (chart["section"] == "Memory bandwidth") drawn = true;
  }
  EXPECT_TRUE(drawn);
}

TEST_F(MeasuredInABrowser, TheHeatOfAJobIsDrawnOnTheTimeAxisOfTheThroughput) {
  const Json& facts = MeasuredInABrowser::facts(
      "heated", [] { return test::page_of(test::heated_sample()); }, test::Look::thorough);
  EXPECT_EQ(facts["wrong"], Json::array());
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

TEST_F(MeasuredInABrowser, TheHeatIsAlsoThereAsText) {
  const Json& facts = MeasuredInABrowser::facts(
      "heated", [] { return test::page_of(test::heated_sample()); }, test::Look::thorough);
  EXPECT_EQ(
      table(facts, "Heat of the bus")["rows"],
      Json::array({{"bulk", "260 KiB", "1.00 MiB", "1.00 MiB", "84.5 %", "84.2 %", "1.19 MiB", ""},
                   {"bulk.peer", "-", "-", "-", "-", "-", "-", "it is on no bus"}}));
  const Json& map = table(facts, "Map of bulk");
  EXPECT_EQ(map["head"], Json::array({"share of the looks", "header", "ports", "ring, quarter 1",
                                      "ring, quarter 2", "ring, quarter 3", "ring, quarter 4"}));
  EXPECT_EQ(map["rows"][1],
            Json::array({"1.0 s to 2.0 s", "50.0 %", "0 %", "100 %", "0 %", "0 %", "0 %"}));
  EXPECT_EQ(map["rows"][2],
            Json::array({"2.0 s to 3.0 s", "50.0 %", "0 %", "100 %", "100 %", "100 %", "100 %"}));
  EXPECT_EQ(map["folded"], "the map of bulk in figures");
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
  const auto look = [](const char* name, const Json& json) {
    return MeasuredInABrowser::facts(name, [&] { return test::page_of_json(json.dump()); });
  };
  const auto says = [](const Json& facts, const std::string& words) {
    return std::ranges::count(facts["notes"], Json(words));
  };
  const Json all = look("alike", alike(0.5, 0));
  EXPECT_TRUE(all["heats"].empty());
  EXPECT_EQ(says(all,
                 "bulk: all 64 parts of its bus were used alike, in 50.0 % of the looks from 0.0 s "
                 "to 4.0 s, and nothing was written."),
            1);
  EXPECT_EQ(table(all, "Heat of the bus")["rows"].size(), 2U) << "the figures stay";
  const Json none = look("alike-none", alike(0, nullptr));
  EXPECT_EQ(says(none, "bulk: no part of its bus was used from 0.0 s to 4.0 s."), 1);
  Json one = alike(0.5, 0.25);
  one["jobs"][0]["heat"]["map"]["rows"][1]["written"][63] = 0.5;
  EXPECT_EQ(look("alike-but-one", one)["heats"].size(), 1U) << "one cell was written more often";
}

}  // namespace
}  // namespace shmif::perf::page_measured
