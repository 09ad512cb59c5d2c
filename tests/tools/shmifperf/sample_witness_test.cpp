// shmifperf sample beside Debian's `perf record`, on a program whose time is known to be three
// quarters in one function and one quarter in another.

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

/// Rounds that take a second or more; and so there are a thousand samples, whatever the machine.
const Words kProgram{in_build("tests/instruments/known_functions"), "20000"};

struct Shares {
  double three_quarters = 0, one_quarter = 0;
  double samples = 0;
};

Shares shares_by_perf(const TempDir& dir) {
  const std::string data = dir.file("perf.data");
  Words record{"perf", "record", "-e", "cpu-clock:u", "-F", "999", "-o", data, "--"};
  record.insert(record.end(), kProgram.begin(), kProgram.end());
  const ToolResult recorded = run_program(record);
  EXPECT_EQ(recorded.status, 0) << recorded.err;
  const ToolResult report = run_program(
      {"perf", "report", "-i", data, "--stdio", "-n", "-F", "overhead,sample,symbol", "-t", ";"});
  Shares shares;
  for (const std::string& line : lines_of(report.out)) {
    std::istringstream cells(line);
    std::string share, samples, symbol;
    if (!std::getline(cells, share, ';') || !std::getline(cells, samples, ';')) continue;
    std::getline(cells, symbol);
    const double value = std::atof(share.c_str()) / 100;
    shares.samples += std::atof(samples.c_str());
    if (symbol.find("three_quarters") != std::string::npos) shares.three_quarters = value;
    if (symbol.find("one_quarter") != std::string::npos) shares.one_quarter = value;
  }
  return shares;
}

Shares shares_by_us() {
  Words words{"sample", "--json", "-e", "cpu-clock:u", "-F", "999", "--"};
  words.insert(words.end(), kProgram.begin(), kProgram.end());
  const ToolResult result = shmifperf(words);
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = parsed(result);
  Shares shares;
  shares.samples = json["samples"];
  for (const Json& each : json["profile"]) {
    const std::string symbol = each["symbol"];
    if (symbol.find("three_quarters") != std::string::npos) shares.three_quarters = each["share"];
    if (symbol.find("one_quarter") != std::string::npos) shares.one_quarter = each["share"];
  }
  return shares;
}

/// With n samples, a share of three quarters is off by more than 5 sqrt(3/16/n) less than once in a
/// million times.
double tolerance_of(double samples) {
  return 5 * std::sqrt(3.0 / 16 / samples);
}

TEST(SampleWitness, FunctionsHaveTheSharesThatTheyHaveForPerfAndInTruth) {
  const Shares ours = shares_by_us();
  ASSERT_GT(ours.samples, 200) << "too few to compare";
  EXPECT_NEAR(ours.three_quarters, 0.75, tolerance_of(ours.samples));
  EXPECT_NEAR(ours.one_quarter, 0.25, tolerance_of(ours.samples));
  try {
    if (run_program({"perf", "--version"}).status != 0) GTEST_SKIP() << "no perf here";
  } catch (const std::exception&) {
    GTEST_SKIP() << "no perf here";
  }
  const TempDir dir;
  const Shares its = shares_by_perf(dir);
  ASSERT_GT(its.samples, 200);
  const double tolerance = tolerance_of(ours.samples) + tolerance_of(its.samples);
  EXPECT_NEAR(ours.three_quarters, its.three_quarters, tolerance);
  EXPECT_NEAR(ours.one_quarter, its.one_quarter, tolerance);
}

}  // namespace
}  // namespace shmif::test
