// What people see of access heat: characters, strips, and the sizes of working sets.

#include <gtest/gtest.h>

#include "perf/heat/heat_map.hpp"
#include "perf/heat/session.hpp"

namespace shmif::perf::test {
namespace {

TEST(HeatMapText, ShowsNoAccessAsABlankAndAnyAccessAsMore) {
  EXPECT_EQ(heat_character(0), ' ');
  EXPECT_EQ(heat_character(1e-6), '.');
  EXPECT_EQ(heat_character(0.5), '+');
  EXPECT_EQ(heat_character(1), '@');
  EXPECT_EQ(heat_character(2), '@');
  EXPECT_EQ(heat_strip({0, 0.1, 1}), " .@");
}

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
  std::size_t before = 0;
  for (int heat = 30; heat > 10; --heat) {
    const std::size_t at = text.find("heat " + std::to_string(heat) + ' ');
    ASSERT_NE(at, std::string::npos) << heat << '\n' << text;
    EXPECT_GT(at, before) << heat;
    before = at;
  }
  EXPECT_EQ(text.find("heat 10 "), std::string::npos);
  EXPECT_NE(text.find("  and 10 more mappings\n"), std::string::npos) << text;
}

TEST(HeatMapText, OfATargetThatWasNotMeasuredHasTheReasonAndNoMap) {
  HeatResult result;
  result.process = {41, 1};
  result.reason = "no";
  const std::string text = heat_text({result}, {}, 80);
  EXPECT_NE(text.find("process 41\n  no\n  not measured\n"), std::string::npos) << text;
  const std::string json = heat_json({result}, {}, false);
  EXPECT_NE(json.find("\"working_set_bytes_percentiles\": null"), std::string::npos) << json;
  EXPECT_NE(json.find("\"windows\": []"), std::string::npos) << json;
}

TEST(HeatMapText, OfPhysicalMemoryNamesNoProcess) {
  HeatResult result;
  result.name = "physical memory";
  result.reason = "no";
  EXPECT_NE(heat_text({result}, {}, 80).find("\nphysical memory\n  no\n"), std::string::npos);
  EXPECT_NE(heat_json({result}, {}, false).find("\"pid\": null"), std::string::npos);
}

}  // namespace
}  // namespace shmif::perf::test
