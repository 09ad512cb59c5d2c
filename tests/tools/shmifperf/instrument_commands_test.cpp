// What why, stat and sample have in common, and their options, as people use them.

#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>

#include "shmif/bus.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(InstrumentCommands, RefuseAnOutputThatCannotBeWrittenBeforeTheProgramBegins) {
  const TempDir dir;
  const std::string nowhere = dir.file("none/found"), begun = dir.file("begun");
  for (const char* const command : {"why", "stat", "sample"}) {
    const ToolResult result = shmifperf({command, "-o", nowhere, "--", "touch", begun});
    EXPECT_EQ(result.status, 1) << command;
    EXPECT_TRUE(contains(result.err, "cannot write " + nowhere)) << result.err;
    EXPECT_FALSE(std::filesystem::exists(begun)) << command;
  }
}

TEST(InstrumentCommands, LetTheirProgramEndInItsOwnWayAfterASignal) {
  for (const char* const command : {"why", "sample"}) {
    Tool tool(shmifperf_words(
        {command, "--json", "--", "sh", "-c",
         "trap 'echo told >&2; exit 0' TERM; echo begun >&2; while :; do sleep 0.01; done"}));
    ASSERT_TRUE(tool.wait_for("begun")) << command;
    tool.signal(SIGTERM);
    const ToolResult result = tool.finish();
    EXPECT_EQ(result.err, "begun\ntold\n") << command;
    EXPECT_EQ(result.status, 128 + SIGTERM) << command;
  }
}

TEST(InstrumentCommands, SayByTheirExitCodeThatAProgramCannotBeExecuted) {
  const TempDir dir;
  for (const char* const command : {"why", "stat", "sample"}) {
    EXPECT_EQ(shmifperf({command, "--", dir.path()}).status, 126) << command;
    EXPECT_EQ(shmifperf({command, "--", dir.file("none")}).status, 127) << command;
  }
}

/// How a process of -p ended is not known, and that it ended early is no failure of the instrument.
TEST(InstrumentCommands, EndWithZeroWhenTheProcessThatTheyWatchEnds) {
  for (Words words :
       std::vector<Words>{{"stat", "-e", "task-clock:u"},
                          {"sample"},
                          {"why"},
                          {"heat", "--backend", "clear_refs", "--attrs", "1h,1h,1h,3,100"},
                          {"membw", "--source", "software", "--settle", "600"}}) {
    const Tool short_lived({"sleep", "0.3"});
    words.insert(words.end(), {"-p", std::to_string(short_lived.pid())});
    const ToolResult result = shmifperf(words);
    EXPECT_EQ(result.status, 0) << words.front() << ": " << result.err;
  }
}

TEST(InstrumentCommands, NameTheCpuOfAListThatIsNotOnline) {
  for (const char* const command : {"stat", "sample"}) {
    expect_wrong_lines(command, {{{"-C", "0,60000"}, "-C: CPU 60000 is not online (online are 0"}});
  }
}

TEST(WhyCommand, TellsOfEachBus) {
  const TempDir dir;
  const std::string first = dir.file("first"), second = dir.file("second");
  for (const std::string& bus : {first, second}) ASSERT_TRUE(Bus::create(bus, {}));
  const ToolResult result =
      shmifperf({"why", "--json", "--bus", first, "--bus", second, "--", "true"});
  const Json json = Json::parse(result.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.out << result.err;
  ASSERT_EQ(json["buses"].size(), 2U) << json;
  EXPECT_EQ(json["buses"][0]["bus"], first);
  EXPECT_EQ(json["buses"][1]["bus"], second);
}

TEST(StatCommand, MakesAGroupOfASetOnlyIfItIsToldTo) {
  const Words line{"stat", "--debug=counters", "-e", "page-faults:u,task-clock:u", "--", "true"};
  const std::string of_one_group = R"(: "page-faults:u", "task-clock:u")";
  EXPECT_FALSE(contains(shmifperf(line).err, of_one_group));
  Words grouped = line;
  grouped.insert(grouped.begin() + 1, "--group");
  const ToolResult result = shmifperf(grouped);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(contains(result.err, of_one_group)) << result.err;
}

/// A process that a debugger has cannot be stopped by another one.
TEST(StatCommand, StopsItsTargetForTheReadOnlyIfItIsToldTo) {
  const Child traced([] {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    return ::pause();
  });
  const std::string pid = std::to_string(traced.pid());
  ASSERT_TRUE(eventually(
      [&] { return !contains(text_of_file("/proc/" + pid + "/status"), "TracerPid:\t0\n"); }));
  const auto counted = [&](const Words& more) {
    Words words{"stat", "-e", "task-clock:u", "-p", pid};
    words.insert(words.end(), more.begin(), more.end());
    Tool tool(shmifperf_words(words));
    EXPECT_TRUE(eventually([&] { return sleeps_in_poll(tool.pid()); }));
    tool.signal(SIGINT);
    return tool.finish();
  };
  EXPECT_EQ(counted({}).status, 128 + SIGINT);
  const ToolResult refused = counted({"--stop-target"});
  EXPECT_EQ(refused.status, 1) << refused.out;
  EXPECT_TRUE(contains(refused.err, "cannot stop thread " + pid)) << refused.err;
  EXPECT_TRUE(contains(refused.err, "whether one is attached")) << refused.err;
}

TEST(SampleCommand, TakesASampleAtEachNthEvent) {
  const ToolResult result =
      shmifperf({"sample", "-e", "page-faults:u", "-c", "7", "--format", "raw", "--",
                 in_build("tests/perf/known_load"), "faults", "700"});
  EXPECT_EQ(result.status, 0) << result.err;
  const auto lines = lines_of(result.out);
  EXPECT_GE(lines.size(), 100U);
  EXPECT_LT(lines.size(), 700U) << "not one for each event";
  for (const std::string& line : lines) EXPECT_TRUE(line.ends_with(" period 7")) << line;
}

}  // namespace
}  // namespace shmif::test
