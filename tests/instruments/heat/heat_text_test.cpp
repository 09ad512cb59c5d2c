// What people see of access heat: characters, strips, and the sizes of working sets.

#include <gtest/gtest.h>

#include <algorithm>

#include "instruments/heat/heat_map.hpp"
#include "instruments/heat/session.hpp"

namespace shmif::perf::test {
namespace {

TEST(HeatMapText, SharesARegionAmongItsCells) {
  HeatWindow window;
  window.samples = 10;
  window.regions = {{1000, 1500, 10, 5, 0}, {1500, 2000, 0, 0, 0}, {2000, 3000, 5, {}, 0}};
  EXPECT_EQ(heat_of(window, {1000, 3000}, 4), (std::vector<double>{1, 0, 0.5, 0.5}));
  EXPECT_EQ(heat_of(window, {1000, 3000}, 2), (std::vector<double>{0.5, 0.5}));
  EXPECT_EQ(heat_of(window, {1000, 3000}, 4, HeatOf::writes), (std::vector<double>{0.5, 0, 0, 0}));
  EXPECT_EQ(heat_of(window, {5000, 6000}, 2), (std::vector<double>{0, 0}));
  window.samples = 0;
  EXPECT_EQ(heat_of(window, {1000, 3000}, 1), (std::vector<double>{0}));
}

TEST(WorkingSets, ArePercentilesOfTheWindows) {
  std::vector<HeatWindow> windows;
  for (const std::uint64_t bytes : {50U, 10U, 40U, 20U, 30U}) {
    windows.emplace_back().working_set_bytes = bytes;
  }
  EXPECT_EQ(working_set_percentiles(windows), (std::vector<std::uint64_t>{10, 20, 30, 40, 50}));
  windows.resize(1);
  EXPECT_EQ(working_set_percentiles(windows), (std::vector<std::uint64_t>{50, 50, 50, 50, 50}));
  EXPECT_TRUE(working_set_percentiles({}).empty()) << "not 0: nothing was measured";
}

// More mappings than there is room for: those that are hot for their size come first.
TEST(HeatMapText, ShowsTheHottestMappingsFirst) {
  HeatResult result;
  result.process = {41, 1};
  HeatWindow& window = result.windows.emplace_back();
  window.samples = 100;
  for (std::uint64_t i = 1; i <= 30; ++i) {
    const AddressRange range{i << 20U, (i << 20U) + 8192};
    const auto accesses = static_cast<std::uint32_t>(i * 7 % 31);  // each from 1 to 30 once
    window.regions.push_back({range.begin, range.end, accesses, {}, 0});
    result.ranges.push_back({range, "heat " + std::to_string(accesses), 0});
  }
  const std::string text = heat_text({result}, {}, 80);
  const std::size_t conclusion = text.find("hottest: ");
  ASSERT_NE(conclusion, std::string::npos) << text;
  std::size_t before = text.find('\n', conclusion);
  for (int heat = 30; heat > 10; --heat) {
    const std::size_t at = text.find("heat " + std::to_string(heat) + ' ', before);
    ASSERT_NE(at, std::string::npos) << heat << '\n' << text;
    before = at;
  }
  EXPECT_EQ(text.find("heat 10 "), std::string::npos);
  EXPECT_NE(text.find("  and 10 more mappings\n"), std::string::npos) << text;
}

TEST(HeatMapText, OfATargetThatWasNotMeasuredHasTheReasonAndNoMap) {
  HeatResult result;
  result.process = {41, 1};
  result.reason = "no";
  result.fallback_reason = "no pages";
  result.provenance.writes_reason = "no writes";
  const std::string text = heat_text({result}, {}, 80);
  EXPECT_NE(text.find("process 41\n  no\n  not measured\n"), std::string::npos) << text;
  const std::string json = heat_json({result}, {}, false);
  EXPECT_NE(json.find("\"working_set_bytes_percentiles\": null"), std::string::npos) << json;
  EXPECT_NE(json.find("\"windows\": []"), std::string::npos) << json;
  for (const char* each : {"\"reason\": \"no\"", "\"fallback_reason\": \"no pages\"",
                           "\"writes_reason\": \"no writes\""}) {
    EXPECT_NE(json.find(each), std::string::npos) << json;
  }
}

/// The samples took the whole budget, so they and the windows are not as often as asked for.
TEST(HeatMapText, SaysHowOftenSamplesWereTakenIfThatIsNotAsAskedFor) {
  HeatResult result;
  result.process = {41, 1};
  result.name = "rig";
  result.windows = {{0, 0.5, 4, 0, {}}, {0.5, 1.1, 6, 0, {}}};
  const auto told = [&](double rest_s) {
    result.rest_s = rest_s;
    const std::string text = heat_text({result}, {}, 80);
    const std::size_t at = text.find("  a sample each ");
    return at == std::string::npos ? "" : text.substr(at, text.find('\n', at) - at);
  };
  EXPECT_EQ(told(0.2),
            "  a sample each 110 ms, windows of 550 ms, to take little of the time (--budget)");
  EXPECT_EQ(told(0.006), told(0.2));
  EXPECT_EQ(told(0.005), "") << "as asked for";
  EXPECT_EQ(told(0), "");
  result.windows.clear();
  EXPECT_EQ(told(0.2), "") << "nothing was measured";
}

TEST(HeatMapText, SaysThatTheNextSampleComesASecondLaterOrMore) {
  HeatResult result;
  result.process = {41, 1};
  result.rest_s = 0.99;
  EXPECT_EQ(heat_slowness(result), "");
  result.rest_s = 1;
  EXPECT_EQ(
      heat_slowness(result),
      "a sample of process 41 is costly: the next one begins 1 s later, to take little of the "
      "time (--budget allows more; Ctrl-C ends it and shows what is known)");
  result.rest_s = 2.6;
  EXPECT_NE(heat_slowness(result).find("begins 3 s later"), std::string::npos);
  result.reason = "it has ended";
  EXPECT_EQ(heat_slowness(result), "") << "there is no next one";
}

/// Two ranges, of 40 and 60 KiB, and as many windows of ten samples as there are lists of regions.
HeatResult measured(std::vector<std::vector<Region>> windows) {
  HeatResult result;
  result.process = {41, 1};
  result.name = "rig";
  result.provenance.source = "client";
  result.provenance.precision = "page";
  result.ranges = {{{0x10000, 0x10000 + 40960}, "pool", 0}, {{0x40000, 0x40000 + 61440}, "", 0}};
  for (auto& regions : windows) {
    HeatWindow& window = result.windows.emplace_back();
    window.begin_s = static_cast<double>(result.windows.size());
    window.end_s = window.begin_s + 1;
    window.samples = 10;
    window.regions = std::move(regions);
  }
  return result;
}

TEST(HeatConclusion, SaysHowMuchWasAccessedAllTheTimeAndWhatIsHottest) {
  // 8 KiB of the pool in each window; 4 KiB of the other range in one of four.
  const Region hot{0x12000, 0x14000, 8, {}, 0};
  const auto result =
      measured({{hot}, {hot, {0x40000, 0x41000, 9, {}, 0}}, {hot}, {{0x12000, 0x14000, 6, {}, 0}}});
  EXPECT_EQ(heat_conclusion(result),
            "process 41 (rig): 8.0 KiB of 100.0 KiB (8 %) were accessed in each of 4 windows, "
            "12.0 KiB in any; hottest: 8.0 KiB of pool at 8.0 KiB, in 75 % of the samples");
}

TEST(HeatConclusion, CountsWhatIsAccessedInNineOfTenWindows) {
  const Region always{0x40000, 0x4F000, 1, {}, 0};
  std::vector<std::vector<Region>> windows(20, {always});
  for (std::size_t i = 0; i < 18; ++i) windows[i].push_back({0x10000, 0x12000, 10, {}, 0});
  for (std::size_t i = 0; i < 17; ++i) windows[i].push_back({0x14000, 0x18000, 2, {}, 0});
  for (auto& regions : windows) std::ranges::sort(regions, {}, &Region::begin);
  EXPECT_EQ(heat_conclusion(measured(windows)),
            "process 41 (rig): 68.0 KiB of 100.0 KiB (68 %) were accessed in nine of ten windows, "
            "84.0 KiB in any; hottest: 8.0 KiB of pool at 0 B, in 90 % of the samples");
}

TEST(HeatConclusion, TakesTheLongestOfWhatIsNearlyAsHot) {
  const auto result = measured({{{0x10000, 0x11000, 10, {}, 0},
                                 {0x13000, 0x15000, 9, {}, 0},
                                 {0x15000, 0x16000, 10, {}, 0},
                                 {0x40000, 0x4F000, 8, {}, 0}}});
  EXPECT_EQ(heat_conclusion(result),
            "process 41 (rig): 76.0 KiB of 100.0 KiB (76 %) were accessed in the one window; "
            "hottest: 12.0 KiB of pool at 12.0 KiB, in 93 % of the samples");
}

TEST(HeatConclusion, CountsOnceWhatLiesInTwoNeighbouringMappings) {
  HeatResult result = measured({{{0xE000, 0x43000, 10, {}, 0}}});
  result.ranges = {{{0x10000, 0x20000}, "first", 0},
                   {{0x20000, 0x40000}, "second", 0},
                   {{0x41000, 0x42000}, "third", 0}};
  EXPECT_EQ(heat_conclusion(result),
            "process 41 (rig): 196.0 KiB of 196.0 KiB (100 %) were accessed in the one window; "
            "hottest: second (128.0 KiB), in 100 % of the samples");
}

TEST(HeatConclusion, NamesAWholeMappingAndClaimsNoMoreThanIsKnown) {
  auto result = measured({{{0x40000, 0x4F000, 10, {}, 0}}});
  const std::string behind =
      "60.0 KiB of 100.0 KiB (60 %) were accessed in the one window; hottest: 0x40000 (60.0 KiB), "
      "in 100 % of the samples";
  EXPECT_EQ(heat_conclusion(result), "process 41 (rig): " + behind);
  result.provenance.precision = "mapping";
  EXPECT_EQ(heat_conclusion(result), "process 41 (rig): mappings with " + behind);
  result.provenance.precision = "sampled page";
  EXPECT_EQ(heat_conclusion(result), "process 41 (rig): about " + behind);
}

TEST(HeatConclusion, OfNoAccessAndOfNoMeasurementSaysThat) {
  EXPECT_EQ(
      heat_conclusion(measured({{{0x10000, 0x11000, 1, {}, 0}}, {}})),
      "process 41 (rig): none of 100.0 KiB was accessed in each of 2 windows, 4.0 KiB in any; "
      "hottest: 4.0 KiB of pool at 0 B, in 5 % of the samples");
  EXPECT_EQ(heat_conclusion(measured({{{0x10000, 0x11000, 0, {}, 0}}, {}})),
            "process 41 (rig): no access to 100.0 KiB in any of 2 windows");
  EXPECT_EQ(heat_conclusion(measured({{{0x10000, 0x11000, 0, {}, 0}}})),
            "process 41 (rig): no access to 100.0 KiB in the one window");
  EXPECT_EQ(heat_conclusion(
                measured(std::vector<std::vector<Region>>(10, {{0x10000, 0x11000, 0, {}, 0}}))),
            "process 41 (rig): no access to 100.0 KiB in any of 10 windows");
  auto result = measured({});
  result.name = "a\x1b[2J";
  EXPECT_EQ(heat_conclusion(result), "process 41 (a?[2J): not measured");
  result.process = {};
  result.name = "physical memory";
  EXPECT_EQ(heat_conclusion(result), "physical memory: not measured");
}

TEST(HeatMapText, OfOneHeatIsASentenceAndNoPicture) {
  auto result = measured({{{0x10000, 0x1A000, 5, 2, 0}, {0x40000, 0x4F000, 5, 0, 0}},
                          {{0x10000, 0x1A000, 5, 2, 0}, {0x40000, 0x4F000, 5, 0, 0}}});
  const std::string text = heat_text({result}, {}, 80);
  EXPECT_NE(text.find("pool                      40.0 KiB all alike, in 50 % of the samples\n"
                      "                           written all alike, in 20 % of the samples\n"
                      "0x40000                   60.0 KiB all alike, in 50 % of the samples\n"
                      "                           written nowhere\n"
                      "over time: all alike, in 50 % of the samples of each window\n"
                      "working set"),
            std::string::npos)
      << text;
  // One page more often in one window: the rows of the other mapping stay sentences.
  result.windows[1].regions[0].end = 0x11000;
  result.windows[1].regions.insert(result.windows[1].regions.begin() + 1,
                                   {0x11000, 0x1A000, 9, 2, 0});
  const std::string other = heat_text({result}, {}, 80);
  EXPECT_NE(other.find("pool                      40.0 KiB |"), std::string::npos) << other;
  EXPECT_NE(other.find("0x40000                   60.0 KiB all alike"), std::string::npos);
  EXPECT_NE(other.find("over time, addresses of these one after another:\n    1.00 s |"),
            std::string::npos)
      << other;
}

/// Names are those that other programs gave themselves and their files.
TEST(HeatMapText, HasNoByteThatCommandsATerminal) {
  auto result = measured({{{0x10000, 0x12000, 2, {}, 0}}});
  result.name = "r\x1b[2J";
  result.ranges[0].name = "p\x1b[2J";
  result.reason = "left\r";
  result.fallback_reason = "no pages\r";
  result.provenance.reads_reason = "no reads\r";
  result.provenance.note = "note\r";
  result.mappings.looks = 1;
  result.mappings.mappings = {{{{0x40000, 0x4F000}, "m\x1b[2J", 0}, 1}};
  const std::string text = heat_text({result}, {}, 80);
  for (const char* const part :
       {"process 41 (r?[2J): 8.0 KiB of", "KiB of p?[2J at", "\nprocess 41 (r?[2J): by client",
        "\n  left?\n", "\n  pages are not known: no pages?\n",
        "\n  reads are not measured: no reads?\n", "\n  note?\n", "\np?[2J    ", "\nm?[2J    "}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  }
  EXPECT_EQ(text.find_first_of("\x1b\r"), std::string::npos);
}

TEST(HeatMapText, HasAllWindowsInItsRows) {
  HeatResult result;
  result.process = {41, 1};
  const AddressRange range{0x10000, 0x20000};
  result.ranges = {{range, "pool", 0}};
  for (int i = 0; i < 40; ++i) {
    const std::uint32_t accesses = i == 38 ? 10 : 0;
    result.windows.push_back(
        {1.0 + i, 2.0 + i, 10, 0, {{range.begin, range.end, accesses, {}, 0}}});
  }
  const std::string text = heat_text({result}, {}, 80);
  std::vector<std::string> rows;
  for (std::size_t at = 0; (at = text.find(" s |", at)) != std::string::npos; at += 4) {
    rows.push_back(text.substr(at - 5, text.find('\n', at) - at + 5));
  }
  ASSERT_EQ(rows.size(), 20U) << text;
  EXPECT_EQ(rows[0], " 1.00 s |" + std::string(68, ' ')) << "of two windows";
  EXPECT_EQ(rows[1], " 3.00 s |" + std::string(68, ' '));
  EXPECT_EQ(rows[19], "39.00 s |" + std::string(68, '+')) << "half of their samples";
}

}  // namespace
}  // namespace shmif::perf::test
