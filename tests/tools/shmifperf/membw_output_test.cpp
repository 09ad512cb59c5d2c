// What membw prints of sources that agree, or do not: a row for each sample and for each step.

#include "tools/shmifperf/membw_output.hpp"

#include <gtest/gtest.h>

#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

/// Two steps with a sample each: in the second, resctrl counts less than the controllers.
perf::MembwResult two_steps() {
  perf::MembwResult result;
  result.processes = {71, 72};
  perf::MemorySummary pmu;
  pmu.source = "pmu";
  pmu.scope = perf::MemoryScope::socket;
  pmu.background = perf::MemoryRates{{}, {}, 1e9};
  perf::MemorySummary resctrl;
  resctrl.source = "resctrl";
  resctrl.part = "local";
  resctrl.scope = perf::MemoryScope::group;
  for (const double rate : {20e9, 10e9}) {
    const std::size_t step = result.steps.size();
    perf::MembwSample sample;
    sample.number = 2 * step + 1;
    sample.step = step;
    sample.readings.resize(2);
    sample.readings[0].total = rate + 1e9;
    sample.readings[1].total = step == 0 ? rate : 6e9;
    pmu.rates = sample.readings[0];
    resctrl.rates = sample.readings[1];
    pmu.samples = resctrl.samples = 1;
    result.samples.push_back(std::move(sample));
    result.steps.push_back({pmu, resctrl});
  }
  result.sources = result.steps.front();
  return result;
}
perf::MembwExtras extras() {
  return {.pairs = perf::CompareLimits{}, .allocations = {"MB:0=100", "MB:0=50"}};
}

TEST(MembwOutput, HasARowForEachSampleAndStepAndOneVerdict) {
  const std::string text =
      tools::membw_text(two_steps(), perf::MemoryReport::total, {}, extras(), 0);
  const auto lines = lines_of(text);
  const auto has = [&](const std::string& begin, const Words& parts) {
    return std::ranges::any_of(lines, [&](const std::string& line) {
      return line.starts_with(begin) && std::ranges::all_of(parts, [&](const std::string& part) {
               return line.find(part) != std::string::npos;
             });
    });
  };
  const std::string pair = "pmu and resctrl:local";
  EXPECT_TRUE(has("  1 ", {"71 72", pair, "20.0 GB/s", "0 B/s, 0"})) << text;
  EXPECT_TRUE(has("  3 ", {"71 72", pair, "10.0 GB/s", "6.00 GB/s", "4.00 GB/s, 40"})) << text;
  EXPECT_TRUE(has("MB:0=100 ", {"21.0 GB/s", "20.0 GB/s", "same"})) << text;
  EXPECT_TRUE(has("MB:0=50 ", {"11.0 GB/s", "6.00 GB/s", "different"})) << text;
  EXPECT_TRUE(has("all steps, " + pair +
                      ": different (1 same, 1 different, 0 refused, 0 not "
                      "measured)",
                  {}))
      << text;
}

TEST(MembwOutput, AppendsALineForEachSampleAndPair) {
  const TempDir dir;
  const std::string path = dir.file("pairs.csv");
  for (int run = 0; run < 2; ++run) {
    ASSERT_TRUE(tools::append_pairs_csv(path, two_steps(), perf::MemoryReport::total, extras()));
  }
  const auto lines = lines_of(text_of_file(path));
  ASSERT_EQ(lines.size(), 5U);
  EXPECT_EQ(lines[1],
            "1,\"MB:0=100\",71 72,pmu,resctrl:local,20000000000.0,20000000000.0,0.0,same,\"\"");
  EXPECT_EQ(lines[2],
            "3,\"MB:0=50\",71 72,pmu,resctrl:local,10000000000.0,6000000000.0,4000000000.0,"
            "different,\"\"");
  EXPECT_EQ(lines[3], lines[1]);
  const auto other = tools::append_csv(path, two_steps());
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().message,
            "cannot append to " + path + ": its first line names other columns (give a new file)");
  EXPECT_EQ(lines_of(text_of_file(path)).size(), 5U) << "nothing was added";
}

/// A reason may name a port, and another program chose that.
TEST(MembwOutput, HasNoByteThatCommandsATerminal) {
  perf::MembwResult result = two_steps();
  result.sources[0].rates.reason = "of\x1b[2Ja source";
  result.samples[0].readings[0].reason = "of\x1b[2J\na \"reading\"";
  perf::MemoryComparison compared;
  compared.first = "pmu";
  compared.second = "resctrl:local";
  compared.reason = "of\x1b[2Ja pair";
  const std::string text =
      tools::membw_text(result, perf::MemoryReport::total, {compared}, extras(), 0);
  EXPECT_NE(text.find("pmu: of?[2Ja source\n"), std::string::npos) << text;
  EXPECT_NE(text.find(" (of?[2Ja pair)\n"), std::string::npos) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  const TempDir dir;
  ASSERT_TRUE(tools::append_csv(dir.file("all.csv"), result));
  const auto lines = lines_of(text_of_file(dir.file("all.csv")));
  ASSERT_EQ(lines.size(), 5U) << "a head, and two sources in two steps";
  EXPECT_TRUE(lines[1].ends_with(",\"of?[2J?a \"\"reading\"\"\"")) << lines[1];
}

TEST(MembwOutput, IsExitCodeOneIfSourcesDifferAtAnyStep) {
  const auto code_of = [](const perf::MembwResult& result, double tolerance,
                          perf::MemoryReport report = perf::MemoryReport::total) {
    return tools::membw_exit_code(result, report, {.tolerance = tolerance});
  };
  perf::MembwResult result = two_steps();
  EXPECT_EQ(code_of(result, 0.08), 1) << "at the second";
  EXPECT_EQ(code_of(result, 0.39), 1);
  EXPECT_EQ(code_of(result, 0.41), 0);
  EXPECT_EQ(code_of(result, 0.08, perf::MemoryReport::reads), 0) << "no source has them";
  std::swap(result.steps[0], result.steps[1]);
  EXPECT_EQ(code_of(result, 0.08), 1) << "at the first";
  result.steps.erase(result.steps.begin());
  EXPECT_EQ(code_of(result, 0.08), 0) << "the other step";
  result.steps.clear();
  EXPECT_EQ(code_of(result, 0.08), 0);
  EXPECT_EQ(
      tools::membw_exit_code(two_steps(), perf::MemoryReport::total, {.floor_bytes_per_s = 7e9}), 0)
      << "too little for a verdict";
}

TEST(MembwOutput, ComparesWithTheLimitsThatAreGiven) {
  constexpr double kMiB = 1024 * 1024;
  for (const auto& [words, tolerance, floor] : std::vector<std::tuple<Words, double, double>>{
           {{}, 0.08, 750 * kMiB},
           {{"--tolerance", "5%"}, 0.05, 750 * kMiB},
           {{"--floor", "2M"}, 0.08, 2 * kMiB},
           {{"--floor", "0", "--tolerance", "0%"}, 0, 0}}) {
    tools::Options options("membw", "");
    options.words(0, 0).value("tolerance", "SHARE", "").value("floor", "SIZE", "");
    const auto limits = tools::membw_limits(options.parse({.words = words, .tail = {}}));
    EXPECT_EQ(limits.tolerance, tolerance);
    EXPECT_EQ(limits.floor_bytes_per_s, floor);
    EXPECT_EQ(limits.background, 0.1);
  }
}

}  // namespace
}  // namespace shmif::test
