// shmifperf stat, as people run it.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <utility>
#include <vector>

#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"
#include "tools/shmifperf/watched.hpp"

namespace shmif::test {
namespace {

/// The event of this name in the JSON of stat.
Json event_in(const Json& json, const std::string& name) {
  for (const Json& each : json["events"]) {
    if (each["name"] == name) return each;
  }
  return {};
}

TEST(StatCommand, CountsTheUsualEventsAndSaysOfEachOtherWhyNot) {
  const TempDir dir;
  const std::string path = dir.file("stat.json");
  const ToolResult result =
      shmifperf({"stat", "--json", "-o", path, "--", "sh", "-c", "echo hello; exit 7"});
  EXPECT_EQ(result.status, 7) << "the exit code of the program";
  EXPECT_EQ(result.out, "hello\n");
  const Json json = json_of_file(path);
  ASSERT_EQ(json["events"].size(), 6U) << json;
  for (const Json& each : json["events"]) {
    EXPECT_EQ(each.size(), 8U) << each;
    EXPECT_EQ(each["value"].is_null(), each["reason"] != "") << each;
    EXPECT_NE(each["source"], "");
    EXPECT_FALSE(each["scaled"]);
    if (each["value"].is_null()) continue;
    EXPECT_GT(each["enabled_ns"], 0);
    EXPECT_EQ(each["enabled_ns"], each["running_ns"]);
  }
  EXPECT_GT(event_in(json, "task-clock")["value"], 0);
  EXPECT_EQ(event_in(json, "task-clock")["unit"], "ns");
  EXPECT_GT(event_in(json, "page-faults")["value"], 0);
  EXPECT_EQ(json["partial"], false);
  EXPECT_EQ(json["one_instant"], true);
}

TEST(StatCommand, LetsEventSetsTakeTurns) {
  Tool tool(shmifperf_words({"stat", "--json", "--debug=counters", "--turn", "1ms", "-e",
                             "{task-clock:u},{page-faults:u}", "-e", "minor-faults:u", "--",
                             in_build("tests/instruments/known_load"), "burn", "60000"}));
  // However busy the machine is, two turns of the last set end.
  EXPECT_TRUE(eventually([&] {
    const std::string turn = "set 2 has had its turn, set 0 begins";
    static_cast<void>(tool.wait_for("nothing of this name", std::chrono::milliseconds(10)));
    const std::string& said = tool.so_far().err;
    const std::size_t first = said.find(turn);
    return first != std::string::npos && said.find(turn, first + 1) != std::string::npos;
  }));
  tool.signal(SIGTERM);
  const ToolResult result = tool.finish();
  EXPECT_EQ(result.status, 128 + SIGTERM) << result.err;
  const Json json = parsed(result);
  ASSERT_EQ(json["sets"].size(), 3U) << result.out << result.err;
  for (const Json& each : json["sets"]) EXPECT_GE(each["activations"], 2) << each;
  const Json clock = event_in(json, "task-clock:u");
  EXPECT_EQ(clock["scaled"], true);
  EXPECT_LT(clock["running_ns"], clock["enabled_ns"]);
  const double whole = json["clock_ns"];
  EXPECT_NEAR(clock["value"].get<double>(), whole, 0.05 * whole);
}

TEST(WatchedProcesses, HaveEndedWhenTheLastOfThemHas) {
  std::vector<Child> children;
  std::vector<perf::Process> processes;
  for (int i = 0; i < 3; ++i) {
    children.emplace_back([] { return ::pause(); });
    processes.push_back(perf::Process::open(children.back().pid()).value());
  }
  tools::Watched watched(std::move(processes));
  EXPECT_FALSE(tools::have_ended(watched.processes()));
  for (const std::size_t each : {1U, 0U, 2U}) {
    children[each].kill_and_wait();
    EXPECT_EQ(tools::have_ended(watched.processes()), each == 2) << each;
  }
  EXPECT_FALSE(tools::have_ended({})) << "until a signal";
}

TEST(StatCommand, ReadsAProcessThatRunsAtOneInstantAndLeavesItRunning) {
  Tool load({in_build("tests/instruments/known_load"), "burn", "60000", "threads", "2"});
  const std::string pid = std::to_string(load.pid());
  const auto counted = [&](const Words& options) {
    Tool tool(shmifperf_words(Words{"stat", "--json", "-e", "task-clock:u", "-p", pid} + options));
    EXPECT_TRUE(eventually([&] { return sleeps_in_poll(tool.pid()); }));
    tool.signal(SIGINT);
    return parsed(tool.finish());
  };
  const Json stopped = counted({"--stop-target"});
  EXPECT_EQ(stopped["one_instant"], true) << stopped;
  EXPECT_EQ(counted({})["one_instant"], true) << "the counters had stopped";
  EXPECT_EQ(::kill(load.pid(), 0), 0);
  EXPECT_NE(text_of_file("/proc/" + pid + "/status").find("TracerPid:\t0\n"), std::string::npos);
}

TEST(StatCommand, SaysWhyItCannotStart) {
  expect_wrong_lines(
      "stat", {{{"-e", "task-clocks", "--", "true"}, "did you mean task-clock?"},
               {{"-e", "{cs", "--", "true"}, "braces that do not match"},
               {{"--turn", "999us", "--", "true"}, "--turn: it must be 1ms to 60s"},
               {{"--turn", "60001ms", "--", "true"}, "--turn: it must be 1ms to 60s"},
               {{"-p", "1x"}, "\"1x\" is not the number of a process"},
               {{"-a", "-p", "1"}, "-p cannot be combined with -a or -C"},
               {{"-a", "-C", "0"}, "-a and -C exclude each other"},
               {{"-C", "0-"}, "(write it as 0,2-3)"},
               {{"-C", "0,60000"}, "CPU 60000 is not online (online are 0"},
               {{"-a", "--stop-target"}, "--stop-target excludes -a and -C"},
               {{"--switch-on", "faults:0", "-e", "{cs},{faults}", "--", "x"}, "is not EVENT:N"},
               {{"--switch-on", "fault:9", "-e", "{cs},{faults}", "--", "x"}, "--switch-on: "},
               {{"--switch-on", "faults:9", "-e", "cs,faults", "--", "x"}, "two event sets"},
               {{}, "nothing to watch"}});
  const TempDir dir;  // a machine without any PMU or tracepoint
  const ToolResult none =
      shmifperf({"stat", "--json", "--sysroot", dir.path(), "-e",
                 "uncore_imc_0/cas_count_read/,sched:sched_switch", "--", "true"});
  EXPECT_EQ(none.status, 77) << none.err;
  for (const Json& each : parsed(none)["events"]) {
    EXPECT_TRUE(each["value"].is_null()) << each;
    EXPECT_TRUE(each["reason"].get<std::string>().starts_with("not supported: ")) << each;
  }
}

/// And it does not wait for the end of a process that it cannot count.
TEST(StatCommand, OfWhichNothingIsPermittedSaysSoByItsExitCode) {
  if (const std::string why = why_not_as_nobody(); !why.empty()) GTEST_SKIP() << why;
  const Tool other({"sleep", "600"});
  const ToolResult result =
      run_program(kAsNobody + shmifperf_words({"stat", "--json", "-e", "sched:sched_switch", "-p",
                                               std::to_string(other.pid())}));
  EXPECT_EQ(result.status, 77) << result.err;
  const Json event = event_in(parsed(result), "sched:sched_switch");
  EXPECT_TRUE(event["value"].is_null()) << event;
  EXPECT_TRUE(event["reason"].get<std::string>().starts_with("not permitted: ")) << event;
}

TEST(StatCommand, SwitchesEventSetsAtEachNthEvent) {
  const auto switched = [](const Words& where, const Words& load) {
    const ToolResult result =
        shmifperf(Words{"stat", "--json", "--switch-on", "page-faults:u:50", "-e"} +
                  Words{"{task-clock:u},{cpu-clock:u}"} + where + Words{"--"} + load);
    EXPECT_EQ(result.status, 0) << result.err;
    return parsed(result);
  };
  const Json process = switched({}, {in_build("tests/instruments/known_load"), "faults", "100000"});
  ASSERT_EQ(process["sets"].size(), 2U) << process;
  for (const Json& each : process["sets"]) EXPECT_GE(each["activations"], 1) << process;
  EXPECT_FALSE(event_in(process, "task-clock:u")["value"].is_null()) << process;
  EXPECT_FALSE(event_in(process, "cpu-clock:u")["value"].is_null()) << process;
  if (::geteuid() != 0) return;
  const Json cpu =
      switched({"-C", "0"},
               {"taskset", "-c", "0", in_build("tests/instruments/known_load"), "faults", "5000"});
  for (const Json& each : cpu["sets"]) EXPECT_GE(each["activations"], 1) << cpu;
}

TEST(StatCommand, CountsEverythingThatRunsOnCpus) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: counts whole CPUs";
  const Words load{"taskset", "-c",  "0", in_build("tests/instruments/known_load"),
                   "faults",  "2000"};
  const auto counted = [&](const Words& words) {
    const ToolResult result = shmifperf(words + Words{"--json", "-e", "page-faults", "--"} + load);
    EXPECT_EQ(result.status, 0) << result.err;
    return parsed(result);
  };
  const Json all = counted({"stat", "-a"});
  EXPECT_GE(event_in(all, "page-faults")["value"], 2000) << all;
  EXPECT_EQ(all["cpus"][0], 0) << all;
  const Json one = counted({"stat", "-C", "0"});
  EXPECT_GE(event_in(one, "page-faults")["value"], 2000) << one;
  EXPECT_EQ(one["cpus"], Json::array({0})) << one;
  const ToolResult text = shmifperf({"stat", "-C", "0", "-e", "page-faults", "--", "true"});
  EXPECT_EQ(text.out.find("Counted on CPU 0 for "), 0U) << text.out;
  // Without a program, until a signal comes.
  Tool tool(shmifperf_words({"stat", "-a", "--json", "-e", "cpu-clock"}));
  EXPECT_TRUE(eventually([&] { return sleeps_in_poll(tool.pid()); }));
  tool.signal(SIGINT);
  const ToolResult result = tool.finish();
  EXPECT_EQ(result.status, 130);
  EXPECT_GT(event_in(parsed(result), "cpu-clock")["value"], 0) << result.out;
}

}  // namespace
}  // namespace shmif::test
