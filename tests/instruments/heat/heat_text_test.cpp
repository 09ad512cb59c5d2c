// What people see of access heat: figures, sentences and maps, and the same in JSON.

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "instruments/heat/heat_map.hpp"
#include "instruments/heat/session.hpp"

namespace shmif::perf::test {
namespace {

using Json = nlohmann::json;

TEST(HeatFigures, HaveTheUnitsThatTheirSizeNeeds) {
  const std::uint64_t kibi = 1024;
  for (const auto& [bytes, text] : {std::pair(std::uint64_t{0}, "0 B"),
                                    {1023U, "1023 B"},
                                    {1536U, "1.5 KiB"},
                                    {1023 * kibi + 973, "1.0 MiB"},
                                    {kibi << 20U, "1.0 GiB"},
                                    {kibi << 41U, "2048.0 TiB"}}) {
    EXPECT_EQ(heat_bytes(bytes), text);
  }
  for (const auto& [share, text] : {std::pair(0.0, "0 %"),
                                    {1e-9, "below 1 %"},
                                    {0.016, "2 %"},
                                    {0.991, "over 99 %"},
                                    {1.0, "100 %"}}) {
    EXPECT_EQ(heat_share(share), text) << share;
  }
  EXPECT_EQ(heat_strip({0, 1e-6, 0.5, 1, 2}), " .+@@");
  EXPECT_EQ(heat_strip({0.3, 0.5, 0.7, 0}, true), "\x1b[32m-\x1b[33m+\x1b[31m#\x1b[0m ");
}

TEST(HeatFigures, ShareARegionAmongItsCells) {
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

TEST(HeatFigures, OfWorkingSetsArePercentilesOfTheWindows) {
  std::vector<HeatWindow> windows;
  for (const std::uint64_t bytes : {50U, 10U, 40U, 20U, 30U}) {
    windows.emplace_back().working_set_bytes = bytes;
  }
  EXPECT_EQ(working_set_percentiles(windows), (std::vector<std::uint64_t>{10, 20, 30, 40, 50}));
  windows.resize(1);
  EXPECT_EQ(working_set_percentiles(windows), (std::vector<std::uint64_t>{50, 50, 50, 50, 50}));
  EXPECT_TRUE(working_set_percentiles({}).empty()) << "not 0: nothing was measured";
}

using WindowsOfRegions = std::vector<std::vector<Region>>;

/// Two ranges, of 40 and 60 KiB, and as many windows of ten samples as there are lists of regions.
HeatResult measured(WindowsOfRegions windows) {
  HeatResult result;
  result.process = {41, 1};
  result.name = "rig";
  result.provenance.source = "client";
  result.provenance.precision = "page";
  result.ranges = {{{0x10000, 0x1A000}, "pool", 0}, {{0x40000, 0x4F000}, "", 0}};
  for (auto& regions : windows) {
    const double begin = 1.0 + static_cast<double>(result.windows.size());
    result.windows.push_back({begin, begin + 1, 10, 0, std::move(regions)});
  }
  return result;
}

/// The text about a target behind the conclusions and the head.
std::string behind_head(const HeatResult& result, std::size_t columns = 100) {
  const std::string text = heat_text({result}, {}, columns);
  return text.substr(text.find("\n\n") + 2);
}

TEST(HeatConclusion, SaysHowMuchWasAccessedAllTheTimeAndWhatIsHottest) {
  const Region hot{0x12000, 0x14000, 8, {}, 0}, cold{0x10000, 0x11000, 0, {}, 0};
  WindowsOfRegions steady(20, {{0x40000, 0x4F000, 1, {}, 0}});
  for (std::size_t i = 0; i < 18; ++i) steady[i].push_back({0x10000, 0x12000, 10, {}, 0});
  for (std::size_t i = 0; i < 17; ++i) steady[i].push_back({0x14000, 0x18000, 2, {}, 0});
  for (auto& regions : steady) std::ranges::sort(regions, {}, &Region::begin);
  struct Case {
    const char* what;
    WindowsOfRegions windows;
    const char* says;
  };
  for (const Case& each :
       {Case{"8 KiB in each window, and 4 KiB in one of four",
             {{hot}, {hot, {0x40000, 0x41000, 9, {}, 0}}, {hot}, {{0x12000, 0x14000, 6, {}, 0}}},
             "8.0 KiB of 100.0 KiB (8 %) were accessed in each of 4 windows, 12.0 KiB in any; "
             "hottest: 8.0 KiB of pool at 8.0 KiB, in 75 % of the samples"},
        {"nine of ten windows are all the time", steady,
         "68.0 KiB of 100.0 KiB (68 %) were accessed in nine of ten windows, 84.0 KiB in any; "
         "hottest: 8.0 KiB of pool at 0 B, in 90 % of the samples"},
        {"the longest of what is nearly as hot",
         {{{0x10000, 0x11000, 10, {}, 0},
           {0x13000, 0x15000, 9, {}, 0},
           {0x15000, 0x16000, 10, {}, 0},
           {0x40000, 0x4F000, 8, {}, 0}}},
         "76.0 KiB of 100.0 KiB (76 %) were accessed in the one window; hottest: 12.0 KiB of pool "
         "at 12.0 KiB, in 93 % of the samples"},
        {"a part outside of the ranges",
         {{{0x19000, 0x43000, 10, {}, 0}}},
         "16.0 KiB of 100.0 KiB (16 %) were accessed in the one window; hottest: 12.0 KiB of "
         "0x40000 at 0 B, in 100 % of the samples"},
        {"nothing all the time",
         {{{0x10000, 0x11000, 1, {}, 0}}, {}},
         "none of 100.0 KiB was accessed in each of 2 windows, 4.0 KiB in any; hottest: 4.0 KiB "
         "of pool at 0 B, in 5 % of the samples"},
        {"no access", {{cold}, {}}, "no access to 100.0 KiB in any of 2 windows"},
        {"no access in one", {{cold}}, "no access to 100.0 KiB in the one window"},
        {"no window", {}, "not measured"}}) {
    EXPECT_EQ(heat_conclusion(measured(each.windows)),
              std::string("process 41 (rig): ") + each.says)
        << each.what;
  }
}

TEST(HeatConclusion, NamesAWholeMappingAndClaimsNoMoreThanIsKnown) {
  auto result = measured({{{0x40000, 0x4F000, 10, {}, 0}}});
  for (const auto& [precision, claim] :
       {std::pair("page", ""), {"mapping", "mappings with "}, {"sampled page", "about "}}) {
    result.provenance.precision = precision;
    EXPECT_EQ(heat_conclusion(result),
              std::string("process 41 (rig): ") + claim +
                  "60.0 KiB of 100.0 KiB (60 %) were accessed in the one window; hottest: 0x40000 "
                  "(60.0 KiB), in 100 % of the samples");
  }
  result = measured({});
  result.process = {};
  result.name = "physical memory";
  EXPECT_EQ(heat_conclusion(result), "physical memory: not measured");
}

// More mappings than there is room for: those that are hot for their size come first.
TEST(HeatMapText, ShowsTheHottestMappingsFirst) {
  HeatResult result;
  HeatWindow& window = result.windows.emplace_back();
  window.samples = 100;
  for (std::uint64_t i = 1; i <= 30; ++i) {
    const AddressRange range{i << 20U, (i << 20U) + 8192};
    const auto accesses = static_cast<std::uint32_t>(i * 7 % 31);  // each from 1 to 30 once
    window.regions.push_back({range.begin, range.end, accesses, {}, 0});
    result.ranges.push_back({range, "heat " + std::to_string(accesses), 0});
  }
  const std::string text = behind_head(result, 80);
  std::size_t before = 0;
  for (int heat = 30; heat > 10; --heat) {
    const std::size_t at = text.find("heat " + std::to_string(heat) + ' ', before);
    ASSERT_NE(at, std::string::npos) << heat << '\n' << text;
    before = at;
  }
  EXPECT_EQ(text.find("heat 10 "), std::string::npos);
  EXPECT_NE(text.find("  and 10 more mappings\n"), std::string::npos) << text;
}

/// The samples took the whole budget, so they and the windows are not as often as asked for.
TEST(HeatMapText, SaysHowOftenSamplesWereTakenIfThatIsNotAsAskedFor) {
  HeatResult result;
  result.process = {41, 1};
  result.windows = {{0, 0.5, 4, 0, {}}, {0.5, 1.1, 6, 0, {}}};
  const auto tells = [&](double rest_s) {
    result.rest_s = rest_s;
    return heat_text({result}, {}, 80)
               .find(
                   "  a sample each 110 ms, windows of 550 ms, to take little of the time "
                   "(--budget)") != std::string::npos;
  };
  EXPECT_TRUE(tells(0.2));
  EXPECT_TRUE(tells(0.006));
  EXPECT_FALSE(tells(0.005)) << "as asked for";
  result.windows.clear();
  EXPECT_FALSE(tells(0.2)) << "nothing was measured";
  result.rest_s = 0.99;
  EXPECT_EQ(heat_slowness(result), "");
  result.rest_s = 2.6;
  EXPECT_NE(heat_slowness(result).find("process 41 is costly: the next one begins 3 s later"),
            std::string::npos);
  result.reason = "it has ended";
  EXPECT_EQ(heat_slowness(result), "") << "there is no next one";
}

TEST(HeatMapText, OfOneHeatIsASentenceAndNoPicture) {
  const std::vector<Region> regions{{0x10000, 0x1A000, 5, 2, 0}, {0x40000, 0x4F000, 5, 0, 0}};
  auto result = measured({regions, regions});
  EXPECT_NE(behind_head(result).find(
                "pool                      40.0 KiB all alike, in 50 % of the samples\n"
                "                           written all alike, in 20 % of the samples\n"
                "0x40000                   60.0 KiB all alike, in 50 % of the samples\n"
                "                           written nowhere\n"
                "over time: all alike, in 50 % of the samples of each window\n"
                "working set"),
            std::string::npos)
      << behind_head(result);
  // One page more often in one window: the rows of the other mapping stay sentences.
  result.windows[1].regions[0].end = 0x11000;
  result.windows[1].regions.insert(result.windows[1].regions.begin() + 1,
                                   {0x11000, 0x1A000, 9, 2, 0});
  const std::string other = behind_head(result);
  for (const char* const part :
       {"pool                      40.0 KiB |", "0x40000                   60.0 KiB all alike",
        "over time, addresses of these one after another:\n    1.00 s |"}) {
    EXPECT_NE(other.find(part), std::string::npos) << other;
  }
}

TEST(HeatMapText, ShowsEachRangeInTheOrderOfAddressesAndEachWindowInItsRow) {
  HeatResult result;
  result.process = {41, 1};
  result.ranges = {{{0x20000, 0x21000}, "late", 0}, {{0x10000, 0x13000}, "early", 0}};
  for (int i = 0; i < 3; ++i) {
    result.windows.push_back({0.25 + i,
                              1.25 + i,
                              10,
                              4096,
                              {{0x10000, 0x13000, i == 0 ? 10U : 0U, {}, 0},
                               {0x20000, 0x21000, i > 0 ? 10U : 0U, {}, 0}}});  // the hotter one
  }
  const std::string early = std::string(66, '@') + std::string(22, ' ') + '\n';
  const std::string late = std::string(66, ' ') + std::string(22, '@') + '\n';
  EXPECT_NE(behind_head(result).find("over time, addresses of these one after another:\n"
                                     "    0.25 s |" +
                                     early + "    1.25 s |" + late + "    2.25 s |" + late),
            std::string::npos)
      << behind_head(result);
  // More windows than rows: a row is the mean of its windows.
  result.windows.clear();
  for (int i = 0; i < 40; ++i) {
    result.windows.push_back(
        {1.0 + i, 2.0 + i, 10, 0, {{0x20000, 0x21000, i == 38 ? 10U : 0U, {}, 0}}});
  }
  const std::string text = behind_head(result, 80);
  EXPECT_NE(text.find("\n    3.00 s |" + std::string(68, ' ') + '\n'), std::string::npos) << text;
  EXPECT_NE(text.find("\n   39.00 s |" + std::string(68, '+') + '\n'), std::string::npos)
      << "half of their samples: " << text;
  EXPECT_EQ(text.find("40.00 s |"), std::string::npos);
}

/// Everything that a source can say, and nothing was accessed. A carriage return stands for what
/// other programs may put into the names of themselves and of their files.
HeatResult told_result() {
  HeatResult result;
  result.process = {41, 77};
  result.name = "r\x1b[2J";
  result.provenance = {"written", "page", "its pages", "no writes"};
  result.provenance.reads_precision = "mapping";
  result.provenance.reads_reason = "no reads\r";
  result.provenance.note = "a note\r";
  result.reason = "it left\r";
  result.fallback_reason = "no pages\r";
  result.has_ended = true;
  result.kernel_thread = 57;
  result.mappings = {4,
                     {{{{65536, 69632}, "", 6}, 1},
                      {{{131072, 139264}, "/lib/x\r", 0}, 3},
                      {{{262144, 266240}, "never", 0}, 0}}};
  result.ranges = {{{4096, 12288}, "p\x1b", 5}, {{16384, 32768}, "", 0}};
  result.windows = {{1.5, 2.25, 20, 8192, {{4096, 8192, 0, 0, 2}, {8192, 12288, 0, {}, 4}}},
                    {2.5, 3.75, 30, 4096, {}}};
  return result;
}

TEST(HeatMapText, TellsAllThatIsKnownAndHasNoByteThatCommandsATerminal) {
  HeatResult result = told_result();
  EXPECT_EQ(behind_head(result),
            "process 41 (r?[2J): by written, precision: page for writes, mapping for reads, "
            "kdamond: process 57\n"
            "  it left?\n"
            "  pages are not known: no pages?\n"
            "  writes are not measured: no writes\n"
            "  reads are not measured: no reads?\n"
            "  a note?\n"
            "  no write in any of 2 windows\n"
            "whole mappings, read or written: share of 4 looks\n"
            "/lib/x?                    8.0 KiB 75 %\n"
            "0x10000                    4.0 KiB 25 %\n");
  result.provenance.reads_precision.clear();
  result.mappings.looks = 0;
  EXPECT_TRUE(behind_head(result).ends_with("  no access in any of 2 windows\n"));
  result.windows[0].regions[0].accesses = 7;
  const std::string text = heat_text({result}, {}, 200);
  EXPECT_EQ(text.find_first_of("\x1b\r"), std::string::npos) << text;
  for (const char* const part :
       {"process 41 (r?[2J): none of 24.0 KiB", "4.0 KiB of p? at 0 B", "\np?     "}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  }
  result.windows.clear();
  EXPECT_TRUE(behind_head(result).ends_with("  it left?\n  not measured\n"));
}

TEST(HeatJson, HasEachFigureUnderItsName) {
  const Json wanted = Json::parse(R"({
    "target": {"pid": 41, "name": "r\u001b[2J", "source": "written", "precision": "page",
               "means": "its pages", "writes_reason": "no writes", "reads_precision": "mapping",
               "reads_reason": "no reads\r", "note": "a note\r", "kdamond_pid": 57,
               "fallback_reason": "no pages\r", "has_ended": true, "reason": "it left\r",
               "ranges": [{"begin": 4096, "end": 12288, "name": "p\u001b"},
                          {"begin": 16384, "end": 32768, "name": null}],
               "mapping_looks": 4,
               "mappings": [{"begin": 65536, "end": 69632, "name": null, "accesses": 1},
                            {"begin": 131072, "end": 139264, "name": "/lib/x\r", "accesses": 3},
                            {"begin": 262144, "end": 266240, "name": "never", "accesses": 0}]},
    "working_set_bytes_percentiles": {"0": 4096, "25": 4096, "50": 4096, "75": 8192, "100": 8192},
    "windows": [{"begin_s": 1.5, "end_s": 2.25, "samples": 20, "working_set_bytes": 8192,
                 "regions": [
                   {"begin": 4096, "end": 8192, "accesses": 0, "writes": 0, "age": 2},
                   {"begin": 8192, "end": 12288, "accesses": 0, "writes": null, "age": 4}]},
                {"begin_s": 2.5, "end_s": 3.75, "samples": 30, "working_set_bytes": 4096,
                 "regions": []}]})");
  const HeatAttributes attributes = read_attributes("1,22,333,4,55").value();
  Json one = wanted;
  one.update({{"attrs", "1,22,333,4,55"}, {"partial", true}});
  EXPECT_EQ(Json::parse(heat_json({told_result()}, attributes, true)), one);
  HeatResult other;
  other.process = {42, 1};
  const Json several = Json::parse(heat_json({other, told_result()}, {}, false));
  EXPECT_EQ(several["partial"], false);
  ASSERT_EQ(several["targets"].size(), 2U);
  EXPECT_EQ(several["targets"][1], wanted);
  EXPECT_EQ(several["targets"][0]["target"]["pid"], 42);
  for (const char* const none : {"name", "source", "reason", "kdamond_pid"}) {
    EXPECT_EQ(several["targets"][0]["target"][none], nullptr) << none;
  }
  EXPECT_EQ(several["targets"][0]["working_set_bytes_percentiles"], nullptr);
  EXPECT_EQ(Json::parse(heat_json({}, {}, false))["targets"], Json::array());
}

}  // namespace
}  // namespace shmif::perf::test
