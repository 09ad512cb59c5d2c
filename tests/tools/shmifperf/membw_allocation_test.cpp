// shmifperf membw with allocations, on a resctrl file system that lives while it runs.

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/quantity.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/live_resctrl.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

class MembwAllocation : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!live_.works()) GTEST_SKIP() << "cannot mount a file system of FUSE";
  }
  /// `shmifperf membw` of this tree, with short times.
  Words words(const Words& options) const {
    Words all{"membw",    "--sysroot", dir_.path(), "--source", "resctrl",
              "--settle", "0",         "--window",  "20ms"};
    all.insert(all.end(), options.begin(), options.end());
    return all;
  }
  ToolResult membw(const Words& options) const { return shmifperf(words(options)); }

  TempDir dir_;
  LiveResctrl resctrl_;
  LiveFiles live_{resctrl_, dir_.path()};
};

/// What resctrl counted in a reading: of each read, one step.
double bytes_of(const Json& reading) {
  return reading["total_bytes_per_s"].get<double>() * reading["window_s"].get<double>();
}

TEST_F(MembwAllocation, IsSetOnTheNamedGroupAndPutBack) {
  resctrl_.stand("c1", "MB:0=90;1=80");
  const ToolResult result = membw({"--json", "--control-group", "c1", "--schemata",
                                   "MB:0=50;L3:0=ff", "--samples", "2", "--load", "fill:size=64k"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(resctrl_.log(), (Words{"make c1/mon_groups/shmifperf", "c1 MB:0=50;L3:0=ff",
                                   "remove c1/mon_groups/shmifperf", "c1 MB:0=90;L3:0=7ff"}));
  const Json json = parsed(result);
  ASSERT_EQ(json["samples"].size(), 2U) << result.out;
  for (const Json& sample : json["samples"]) {
    EXPECT_EQ(sample["allocation"], "MB:0=50;L3:0=ff");
    EXPECT_EQ(sample["pids"].size(), 1U);
    EXPECT_NEAR(bytes_of(sample["readings"][0]), (50 + 80) * 1e6, 1e3) << "of both domains";
  }
}

TEST_F(MembwAllocation, IsMeasuredInTheMonitoringGroupThatIsNamed) {
  for (const char* const group : {"c1/mon_groups/m1", "mon_groups/m1"}) {
    const ToolResult result =
        membw({"--control-group", group, "--samples", "2", "--load", "fill:size=64k"});
    EXPECT_EQ(result.status, 0) << result.err;
    // Each sample has a row.
    const auto lines = lines_of(result.out);
    const auto head = std::ranges::find_if(
        lines, [](const std::string& line) { return line.starts_with("  sample "); });
    ASSERT_GE(std::distance(head, lines.end()), 3) << result.out;
    EXPECT_TRUE(head[1].starts_with("  1 ")) << result.out;
    EXPECT_TRUE(head[2].starts_with("  2 ")) << result.out;
  }
  EXPECT_EQ(resctrl_.log(), (Words{"make c1", "make c1/mon_groups/m1", "remove c1/mon_groups/m1",
                                   "remove c1", "make mon_groups/m1", "remove mon_groups/m1"}));
}

TEST_F(MembwAllocation, IsPutBackAfterASignal) {
  resctrl_.stand("c1", "MB:0=90;1=80");
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    Tool tool(shmifperf_words(
        words({"--control-group", "c1", "--schemata", "MB:0=50;1=10", "--", "sleep", "601"})));
    ASSERT_TRUE(
        eventually([&] { return resctrl_.schemata_of("c1") == "MB:0=50;1=10;L3:0=7ff;1=7ff"; }));
    tool.signal(signal);
    EXPECT_EQ(tool.finish().status, 128 + signal);
    EXPECT_EQ(resctrl_.schemata_of("c1"), "MB:0=90;1=80;L3:0=7ff;1=7ff") << signal;
  }
}

TEST_F(MembwAllocation, ThatIsNotPossibleIsRefusedBeforeTheProgramBegins) {
  const std::string began = dir_.path() + ".began";
  for (const auto& [schemata, says] : std::vector<std::pair<std::string, std::string>>{
           {"MB:0=55", "MB:0=55: the machine has steps of 10; use 50 or 60"},
           {"MB:3=50", "MB:3=50: MB has the domains 0, 1"},
           {"L2:0=f", "L2:0=f: there is no L2, only MB, L3"},
           {"L3:0=fff", "L3:0=fff: the mask has bits outside of the cache's mask 7ff"}}) {
    const ToolResult result = membw({"--schemata", schemata, "--", "touch", began});
    EXPECT_EQ(result.status, 1) << schemata;
    EXPECT_EQ(result.err, "shmifperf: this machine cannot allocate " + says + '\n');
    EXPECT_EQ(result.out, "");
  }
  EXPECT_EQ(::access(began.c_str(), F_OK), -1);
  EXPECT_EQ(resctrl_.log(), Words{}) << "nothing was made";
}

TEST_F(MembwAllocation, SweepsThroughARangeWithTheLocalBytesOfOneDomain) {
  const std::string csv = dir_.path() + ".csv";
  const ToolResult result =
      membw({"--json", "--sweep", "MB:1=30..10/10", "--local", "--cpu", "0", "--samples", "2",
             "--source", "pmu", "--pairs-csv", csv, "--load", "fill:size=64k"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(resctrl_.log(), (Words{"make shmifperf", "make shmifperf/mon_groups/shmifperf",
                                   "shmifperf MB:1=30", "shmifperf MB:1=20", "shmifperf MB:1=10",
                                   "remove shmifperf/mon_groups/shmifperf", "remove shmifperf"}));
  const Json json = parsed(result);
  ASSERT_EQ(json["samples"].size(), 6U) << result.out;
  for (std::size_t at = 0; at < 6; ++at) {
    const Json& sample = json["samples"][at];
    const std::size_t percent = 30 - 10 * (at / 2);
    EXPECT_EQ(sample["step"], at / 2);
    EXPECT_EQ(sample["readings"][1]["source"], "resctrl:local");
    EXPECT_NEAR(bytes_of(sample["readings"][1]), static_cast<double>(percent) * 1e6, 1e3);
  }
  const Json& steps = json["sweep"]["steps"];
  ASSERT_EQ(steps.size(), 3U);
  EXPECT_EQ(steps[2]["allocation"], "MB:1=10");
  EXPECT_GT(steps[2]["sources"][1]["total_bytes_per_s"], 0);
  const Json& verdict = json["sweep"]["verdicts"].at(0);
  EXPECT_EQ(verdict["second"], "resctrl:local");
  EXPECT_EQ(verdict["verdict"], "not_measured") << "there are no counters of this tree's machine";
  EXPECT_EQ(verdict["not_measured"], 3);
  const auto lines = lines_of(text_of_file(csv));
  ASSERT_EQ(lines.size(), 7U);
  EXPECT_EQ(lines[0],
            "sample,allocation,pid,first,second,first_bytes_per_s,second_bytes_per_s,"
            "difference_bytes_per_s,verdict,reason");
  const std::string pid = std::to_string(json["samples"][2]["pids"][0].get<int>());
  EXPECT_EQ(lines[3].find("4,\"MB:1=20\"," + pid + ",pmu,resctrl:local,,,,not_measured,"), 0U)
      << lines[3];
  ::unlink(csv.c_str());
}

/// Nothing is changed on a machine that has no resctrl.
TEST(MembwSweep, SaysThatThisMachineCannot) {
  const TempDir dir;
  const ToolResult result =
      shmifperf({"membw", "--sysroot", dir.path(), "--schemata", "MB:0=50", "--", "true"});
  EXPECT_NE(result.status, 0);
  EXPECT_NE(result.err.find("/proc/mounts"), std::string::npos) << result.err;
  EXPECT_EQ(result.out, "");
}

}  // namespace
}  // namespace shmif::test
