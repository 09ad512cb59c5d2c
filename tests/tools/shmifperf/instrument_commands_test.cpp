// What why, stat and sample have in common, and their options, as people use them.

#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>

#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

/// A script that fails if it inherited more than the three standard descriptors.
constexpr const char* kNoOtherDescriptor =
    "for i in $(seq 3 99); do test ! -e /proc/$$/fd/$i || exit 9; done";

TEST(InstrumentCommands, HaveTheExitCodeOfTheProgramOrSayWhyItCannotStart) {
  const TempDir dir;
  const std::string nowhere = dir.file("none/found"), begun = dir.file("begun");
  for (const std::string command : {"why", "stat", "sample"}) {
    for (const auto& [program, status] :
         std::vector<std::pair<Words, int>>{{{"true"}, 0},
                                            {{"sh", "-c", "exit 7"}, 7},
                                            {{"sh", "-c", kNoOtherDescriptor}, 0},
                                            {{"sh", "-c", "kill -9 $$"}, 128 + SIGKILL},
                                            {{dir.path()}, 126},
                                            {{dir.file("none")}, 127}}) {
      const ToolResult result = shmifperf(Words{command, "--"} + program);
      EXPECT_EQ(result.status, status) << command << ' ' << program.back() << result.err;
      EXPECT_EQ(result.out.empty(), status == 126 || status == 127) << result.out;
    }
    const ToolResult refused = shmifperf({command, "-o", nowhere, "--", "touch", begun});
    EXPECT_EQ(refused.status, 1) << command;
    EXPECT_TRUE(has(refused.err, "cannot write " + nowhere)) << refused.err;
    EXPECT_FALSE(std::filesystem::exists(begun)) << command;
  }
}

TEST(InstrumentCommands, AfterASignalPrintWhatTheyHaveAndLetTheirProgramEndInItsOwnWay) {
  for (const Words& command : std::vector<Words>{{"why"},
                                                 {"stat", "-e", "page-faults:u"},
                                                 {"sample", "-e", "page-faults:u", "-c", "1"},
                                                 {"heat", "--backend", "clear_refs"}}) {
    SCOPED_TRACE(command[0]);
    Tool tool(shmifperf_words(command + Words{"--json", "--", "sh", "-c",
                                              "trap 'echo told >&2; exit 0' TERM; echo begun >&2; "
                                              "while :; do sleep 0.01; done"}));
    ASSERT_TRUE(tool.wait_for("begun"));
    tool.signal(SIGTERM);
    const ToolResult result = tool.finish();
    EXPECT_TRUE(has(result.err, "told\n")) << result.err;
    EXPECT_EQ(result.status, 128 + SIGTERM);
    const Json json = parsed(result);
    ASSERT_TRUE(json.is_object()) << result.out;
    EXPECT_EQ(json["partial"], true) << result.out;
  }
}

/// How a process of -p ended is not known, and that it ended early is no failure of the instrument.
TEST(InstrumentCommands, EndWithZeroWhenTheProcessThatTheyWatchEnds) {
  for (const Words& words :
       std::vector<Words>{{"stat", "-e", "task-clock:u"},
                          {"sample"},
                          {"why"},
                          {"heat", "--backend", "clear_refs", "--attrs", "1h,1h,1h,3,100"},
                          {"membw", "--source", "software", "--settle", "600"}}) {
    const Tool short_lived({"sleep", "0.3"});
    const ToolResult result = shmifperf(words + Words{"-p", std::to_string(short_lived.pid())});
    EXPECT_EQ(result.status, 0) << words.front() << ": " << result.err;
  }
}

TEST(StatCommand, MakesAGroupOfASetOnlyIfItIsToldTo) {
  const Words line{"stat", "--debug=counters", "-e", "page-faults:u,task-clock:u", "--", "true"};
  const std::string of_one_group = R"(: "page-faults:u", "task-clock:u")";
  EXPECT_FALSE(has(shmifperf(line).err, of_one_group));
  Words grouped = line;
  grouped.insert(grouped.begin() + 1, "--group");
  const ToolResult result = shmifperf(grouped);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(has(result.err, of_one_group)) << result.err;
}

/// A process that a debugger has cannot be stopped by another one.
TEST(StatCommand, StopsItsTargetForTheReadOnlyIfItIsToldTo) {
  const Child traced([] {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    return ::pause();
  });
  const std::string pid = std::to_string(traced.pid());
  ASSERT_TRUE(eventually(
      [&] { return !has(text_of_file("/proc/" + pid + "/status"), "TracerPid:\t0\n"); }));
  for (const bool stops : {false, true}) {
    Words words{"stat", "-e", "task-clock:u", "-p", pid};
    if (stops) words.emplace_back("--stop-target");
    Tool tool(shmifperf_words(words));
    EXPECT_TRUE(eventually([&] { return sleeps_in_poll(tool.pid()); }));
    tool.signal(SIGINT);
    const ToolResult result = tool.finish();
    EXPECT_EQ(result.status, stops ? 1 : 128 + SIGINT);
    EXPECT_EQ(has(result.err, "cannot stop thread " + pid), stops) << result.err;
  }
}

TEST(SampleCommand, TakesASampleAtEachNthEvent) {
  const ToolResult result =
      shmifperf({"sample", "-e", "page-faults:u", "-c", "7", "--format", "raw", "--",
                 in_build("tests/instruments/known_load"), "faults", "700"});
  EXPECT_EQ(result.status, 0) << result.err;
  const auto lines = lines_of(result.out);
  EXPECT_GE(lines.size(), 100U);
  EXPECT_LT(lines.size(), 700U) << "not one for each event";
  for (const std::string& line : lines) EXPECT_TRUE(line.ends_with(" period 7")) << line;
}

}  // namespace
}  // namespace shmif::test
