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
  const Json json = Json::parse(result.out, nullptr, false);
  ASSERT_EQ(json["samples"].size(), 2U) << result.out;
  for (const Json& sample : json["samples"]) {
    EXPECT_EQ(sample["allocation"], "MB:0=50;L3:0=ff");
    EXPECT_EQ(sample["pids"].size(), 1U);
    EXPECT_NEAR(bytes_of(sample["readings"][0]), (50 + 80) * 1e6, 1e3) << "of both domains";
  }
}

TEST_F(MembwAllocation, HasAGroupOfItsOwnUnlessOneIsNamed) {
  const ToolResult result =
      membw({"--schemata", "MB:1=40", "--samples", "1", "--load", "fill:size=64k"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(resctrl_.log(),
            (Words{"make shmifperf", "make shmifperf/mon_groups/shmifperf", "shmifperf MB:1=40",
                   "remove shmifperf/mon_groups/shmifperf", "remove shmifperf"}));
  EXPECT_NE(result.out.find("measured with the allocation MB:1=40\n"), std::string::npos)
      << result.out;
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

TEST_F(MembwAllocation, ThatTheKernelRefusesEndsTheRunWithItsWords) {
  resctrl_.refuse("Overlaps with exclusive group");
  const ToolResult result = membw({"--schemata", "L3:0=3", "--", "sleep", "601"});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("shmifperf: cannot set L3:0=3: "), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("; the kernel says: Overlaps with exclusive group\n"),
            std::string::npos)
      << result.err;
  EXPECT_EQ(resctrl_.log().back(), "remove shmifperf");
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
  const Json json = Json::parse(result.out, nullptr, false);
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

TEST_F(MembwAllocation, OfASweepHaveFourSamplesEachUnlessOthersAreAskedFor) {
  const ToolResult result =
      membw({"--json", "--sweep", "MB:0=20..10/10", "--load", "fill:size=64k"});
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out, nullptr, false);
  std::vector<std::pair<int, int>> samples;
  for (const Json& each : json["samples"]) samples.emplace_back(each["number"], each["step"]);
  EXPECT_EQ(samples, (std::vector<std::pair<int, int>>{
                         {1, 0}, {2, 0}, {3, 0}, {4, 0}, {6, 1}, {7, 1}, {8, 1}, {9, 1}}))
      << "the first of each step is dropped";
}

/// How long the built-in load that this process has started may run; 0: it has not begun.
std::chrono::nanoseconds time_of_load(pid_t starter) {
  for (const auto& each : std::filesystem::directory_iterator("/proc")) {
    const std::string path = each.path().string();
    const std::string status = text_of_file(path + "/status");
    if (status.find("\nPPid:\t" + std::to_string(starter) + '\n') == std::string::npos) continue;
    std::istringstream words(text_of_file(path + "/cmdline"));
    for (std::string word; std::getline(words, word, '\0');) {
      if (word != "--fill" || !std::getline(words, word, '\0')) continue;
      const auto time = base::read_time(word, std::nullopt);
      return time ? *time : std::chrono::nanoseconds(0);
    }
  }
  return {};
}

TEST_F(MembwAllocation, OfASweepHaveALoadThatRunsDuringAllSteps) {
  Tool tool(shmifperf_words({"membw", "--sysroot", dir_.path(), "--source", "resctrl", "--settle",
                             "30s", "--window", "20s", "--samples", "2", "--sweep",
                             "MB:0=50..10/10", "--load", "fill:size=64k"}));
  std::chrono::nanoseconds time{};
  EXPECT_TRUE(eventually([&] { return (time = time_of_load(tool.pid())).count() != 0; }));
  // Five steps, each of two samples and one that is dropped.
  EXPECT_GE(time, std::chrono::seconds(30 + 5 * 3 * 20));
  tool.signal(SIGTERM);
  EXPECT_EQ(tool.finish().status, 128 + SIGTERM);
}

TEST_F(MembwAllocation, OfASweepThatTheProgramDoesNotOutliveIsPartial) {
  resctrl_.stand("c1", "MB:0=90;1=80");
  const std::string file = dir_.path() + "/sys/fs/resctrl/c1/schemata";
  const ToolResult result =
      membw({"--sweep", "MB:0=30..10/10", "--samples", "1", "--control-group", "c1", "--", "sh",
             "-c", "until grep -q 'MB:0=20' " + file + "; do sleep 0.01; done"});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.err, "shmifperf: the processes ended before the last allocation of --sweep\n");
  EXPECT_NE(result.out.find("\npartial: it was ended before the measurement was complete\n"),
            std::string::npos)
      << result.out;
  EXPECT_EQ(resctrl_.schemata_of("c1"), "MB:0=90;1=80;L3:0=7ff;1=7ff");
}

TEST_F(MembwAllocation, PrintsATableOfTheStepsOfASweep) {
  const ToolResult result = membw({"--sweep", "MB:0=20..10/10", "--samples", "1", "--source", "pmu",
                                   "--load", "fill:size=64k"});
  EXPECT_EQ(result.status, 0) << result.err;
  bool first = false;
  bool second = false;
  for (const std::string& line : lines_of(result.out)) {
    first = first || (line.starts_with("MB:0=20 ") && line.ends_with("not measured"));
    second = second || (line.starts_with("MB:0=10 ") && line.ends_with("not measured"));
  }
  EXPECT_TRUE(first && second) << result.out;
  EXPECT_NE(result.out.find("all steps, pmu and resctrl: not measured (0 same, 0 different, 0 "
                            "refused, 2 not measured)"),
            std::string::npos)
      << result.out;
}

TEST(MembwSweep, RefusesLinesThatItCannotUnderstand) {
  const std::string mb = "MB:0=50";
  const std::string range = "MB:0=100..10/10";
  expect_wrong_lines(
      "membw",
      {{{"--schemata", mb}, "--schemata needs a program, --load or -p"},
       {{"--schemata", "MB", "-p", "1"}, "--schemata: \"MB\" is not an allocation"},
       {{"--sweep", mb, "-p", "1"}, "--sweep: \"MB:0=50\" is not an allocation (it has no range"},
       {{"--sweep", range, "--schemata", mb, "-p", "1"}, "exclude each other"},
       {{"--sweep", range, "-p", "1", "--source", "pmu"}, "--sweep needs --source resctrl"},
       {{"--local", "-p", "1"}, "--local needs --cpu"},
       {{"--local", "--cpu", "0", "--socket", "0"}, "--local and --socket exclude each other"},
       {{"--pairs-csv", "pairs"}, "--pairs-csv needs --compare or --sweep"}});
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
