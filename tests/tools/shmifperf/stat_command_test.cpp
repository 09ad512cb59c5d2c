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
Json parsed(const ToolResult& result) {
  return Json::parse(result.out, nullptr, false);
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

TEST(StatCommand, PrintsATable) {
  const ToolResult result = shmifperf({"stat", "-e", "page-faults:u,task-clock:u", "--", "true"});
  EXPECT_EQ(result.status, 0) << result.err;
  const auto lines = lines_of(result.out);
  ASSERT_GE(lines.size(), 4U) << result.out;
  EXPECT_EQ(lines[0].find("Counted for 0."), 0U);
  EXPECT_EQ(lines[2].find("  page-faults:u "), 0U);
  EXPECT_EQ(lines[3].find("  task-clock:u "), 0U);
}

TEST(StatCommand, LetsEventSetsTakeTurns) {
  Tool tool(shmifperf_words({"stat", "--json", "--debug=counters", "--turn", "1ms", "-e",
                             "{task-clock:u},{page-faults:u}", "-e", "minor-faults:u", "--",
                             in_build("tests/perf/known_load"), "burn", "60000"}));
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
  EXPECT_FALSE(watched.have_ended());
  for (const std::size_t each : {1U, 0U, 2U}) {
    children[each].kill_and_wait();
    EXPECT_EQ(watched.have_ended(), each == 2) << each;
  }
  EXPECT_FALSE(tools::Watched(std::vector<perf::Process>()).have_ended()) << "until a signal";
}

TEST(StatCommand, AfterASignalPrintsWhatItHasAndEndsTheProgram) {
  for (const int signal : {SIGINT, SIGTERM}) {
    Tool tool(shmifperf_words(
        {"stat", "--json", "-e", "page-faults:u", "--", "sh", "-c", "echo begun >&2; sleep 600"}));
    ASSERT_TRUE(tool.wait_for("begun"));
    tool.signal(signal);
    const ToolResult result = tool.finish();
    EXPECT_EQ(result.status, 128 + signal);
    const Json json = parsed(result);
    EXPECT_EQ(json["partial"], true) << result.out;
    EXPECT_GT(event_in(json, "page-faults:u")["value"], 0);
  }
}

TEST(StatCommand, PassesASignalOnToItsProgram) {
  Tool tool(shmifperf_words(
      {"stat", "--json", "-e", "page-faults:u", "--", "sh", "-c",
       "trap 'echo told >&2; exit 0' TERM; echo begun >&2; while :; do sleep 0.01; done"}));
  ASSERT_TRUE(tool.wait_for("begun"));
  tool.signal(SIGTERM);
  const ToolResult result = tool.finish();
  EXPECT_EQ(result.err, "begun\ntold\n") << "it may end in its own way";
  EXPECT_EQ(result.status, 128 + SIGTERM);
}

TEST(StatCommand, ReadsAProcessThatRunsAtOneInstantAndLeavesItRunning) {
  Tool load({in_build("tests/perf/known_load"), "burn", "60000", "threads", "2"});
  const std::string pid = std::to_string(load.pid());
  const auto counted = [&](const Words& options) {
    Words words{"stat", "--json", "-e", "task-clock:u", "-p", pid};
    words.insert(words.end(), options.begin(), options.end());
    Tool tool(shmifperf_words(words));
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
  const ToolResult none = shmifperf({"stat", "--", "/nonexistent/program"});
  EXPECT_EQ(none.status, 127);
  EXPECT_EQ(none.out, "");
  expect_wrong_lines(
      "stat", {{{"-e", "task-clocks", "--", "true"}, "did you mean task-clock?"},
               {{"-e", "{cs", "--", "true"}, "braces that do not match"},
               {{"--turn", "1us", "--", "true"}, "--turn: it must be 1ms to 60s"},
               {{"--turn", "999us", "--", "true"}, "--turn: it must be 1ms to 60s"},
               {{"--turn", "60001ms", "--", "true"}, "--turn: it must be 1ms to 60s"},
               {{"--switch-on", ":9", "-e", "{cs},{faults}", "--", "x"}, "--switch-on: "},
               {{"--switch-on", "faults:", "-e", "{cs},{faults}", "--", "x"}, "is not EVENT:N"},
               {{"--switch-on", "faults:9x", "-e", "{cs},{faults}", "--", "x"}, "is not EVENT:N"},
               {{"-C", "0", "--stop-target"}, "--stop-target excludes -a and -C"},
               {{"-p", "1x"}, "\"1x\" is not the number of a process"},
               {{"-a", "-p", "1"}, "-p cannot be combined with -a or -C"},
               {{"-a", "-C", "0"}, "-a and -C exclude each other"},
               {{"-C", "0-"}, "\"0-\" is not a list of CPUs (write it as 0,2-3)"},
               {{"-C", ""}, "--cpu \"\" is empty"},
               {{"-C", "60000"}, "CPU 60000 is not online (online are 0"},
               {{"-a", "--stop-target"}, "--stop-target excludes -a and -C"},
               {{"--switch-on", "page-faults", "-e", "{cs},{faults}", "--", "x"},
                "\"page-faults\" is not EVENT:N, such as page-faults:1000"},
               {{"--switch-on", "faults:0", "-e", "{cs},{faults}", "--", "x"}, "is not EVENT:N"},
               {{"--switch-on", "fault:9", "-e", "{cs},{faults}", "--", "x"}, "--switch-on: "},
               {{"--switch-on", "faults:9", "-e", "cs,faults", "--", "x"},
                "--switch-on needs at least two event sets"},
               {{}, "nothing to watch"}});
}

TEST(StatCommand, SwitchesEventSetsAtEachNthEvent) {
  const auto switched = [](const Words& where, const Words& load) {
    Words words{
        "stat", "--json", "--switch-on", "page-faults:u:50", "-e", "{task-clock:u},{cpu-clock:u}"};
    words.insert(words.end(), where.begin(), where.end());
    words.push_back("--");
    words.insert(words.end(), load.begin(), load.end());
    const ToolResult result = shmifperf(words);
    EXPECT_EQ(result.status, 0) << result.err;
    return parsed(result);
  };
  const Json process = switched({}, {in_build("tests/perf/known_load"), "faults", "100000"});
  ASSERT_EQ(process["sets"].size(), 2U) << process;
  for (const Json& each : process["sets"]) EXPECT_GE(each["activations"], 1) << process;
  EXPECT_FALSE(event_in(process, "task-clock:u")["value"].is_null()) << process;
  EXPECT_FALSE(event_in(process, "cpu-clock:u")["value"].is_null()) << process;
  if (::geteuid() != 0) return;
  const Json cpu = switched(
      {"-C", "0"}, {"taskset", "-c", "0", in_build("tests/perf/known_load"), "faults", "5000"});
  for (const Json& each : cpu["sets"]) EXPECT_GE(each["activations"], 1) << cpu;
}

TEST(StatCommand, SwitchesEventSetsAtEachNthEventByTimeOnlyIfToldTo) {
  const auto words = [](const Words& more, const char* milliseconds) {
    Words all{"stat", "--json", "--debug=counters", "--switch-on", "page-faults:u:1000000"};
    all.insert(all.end(), more.begin(), more.end());
    const Words load{"-e", "{task-clock:u},{cpu-clock:u}", "--", in_build("tests/perf/known_load"),
                     "burn"};
    all.insert(all.end(), load.begin(), load.end());
    all.emplace_back(milliseconds);
    return all;
  };
  // Longer than the 10 ms that a set has where only time ends its turn.
  const ToolResult result = shmifperf(words({}, "30"));
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = parsed(result);
  ASSERT_EQ(json["sets"].size(), 2U) << result.out;
  EXPECT_EQ(json["sets"][1]["activations"], 0) << json;

  Tool told(shmifperf_words(words({"--turn", "1ms"}, "60000")));
  EXPECT_TRUE(eventually([&] {
    static_cast<void>(told.wait_for("nothing of this name", std::chrono::milliseconds(10)));
    return told.so_far().err.find("set 0 has had its turn, set 1 begins") != std::string::npos;
  }));
  told.signal(SIGTERM);
  EXPECT_EQ(told.finish().status, 128 + SIGTERM);
}

TEST(StatCommand, CountsEverythingThatRunsOnCpus) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: counts whole CPUs";
  const Words load{"taskset", "-c", "0", in_build("tests/perf/known_load"), "faults", "2000"};
  const auto counted = [&](Words words) {
    words.insert(words.end(), {"--json", "-e", "page-faults", "--"});
    words.insert(words.end(), load.begin(), load.end());
    const ToolResult result = shmifperf(words);
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

TEST(StatCommand, OfWhichNothingIsPermittedSaysSoByItsExitCode) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: setpriv";
  const auto as_another = [](const Words& command) {
    Words words{"setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set=-all"};
    words.insert(words.end(), command.begin(), command.end());
    return run_program(words);
  };
  if (as_another({"test", "-x", shmifperf_path()}).status != 0) {
    GTEST_SKIP() << "another user cannot run " << shmifperf_path();
  }
  Tool other({"sleep", "30"});
  const ToolResult result = as_another(shmifperf_words(
      {"stat", "--json", "-e", "sched:sched_switch", "-p", std::to_string(other.pid())}));
  EXPECT_EQ(result.status, 77) << result.err;
  const Json event = event_in(parsed(result), "sched:sched_switch");
  EXPECT_TRUE(event["value"].is_null()) << event;
  EXPECT_EQ(event["reason"].get<std::string>().find("not permitted: "), 0U) << event;
  siginfo_t ended{};
  EXPECT_EQ(::waitid(P_PID, static_cast<id_t>(other.pid()), &ended, WEXITED | WNOHANG | WNOWAIT),
            0);
  EXPECT_EQ(ended.si_pid, 0) << "the process lives: nobody waited for its end";
}

TEST(StatCommand, TakesTheShortestAndTheLongestTurn) {
  for (const std::string turn : {"1ms", "60s"}) {
    const ToolResult result = shmifperf(
        {"stat", "--json", "--turn", turn, "-e", "{task-clock:u},{page-faults:u}", "--", "true"});
    EXPECT_EQ(result.status, 0) << result.err;
    const Json json = parsed(result);
    ASSERT_EQ(json["sets"].size(), 2U) << result.out;
    if (turn == "60s") {
      EXPECT_EQ(json["sets"][1]["activations"], 0) << json;
      EXPECT_EQ(event_in(json, "page-faults:u")["reason"],
                "not counted: its event set had no turn while the target ran");
    }
  }
}

TEST(StatCommand, FindsPmusAndTracepointsBelowADirectory) {
  const TempDir dir;  // a machine without any
  const ToolResult result =
      shmifperf({"stat", "--json", "--sysroot", dir.path(), "-e",
                 "uncore_imc_0/cas_count_read/,sched:sched_switch", "--", "true"});
  EXPECT_EQ(result.status, 77) << result.err;
  for (const Json& each : parsed(result)["events"]) {
    EXPECT_TRUE(each["value"].is_null()) << each;
    EXPECT_EQ(each["reason"].get<std::string>().find("not supported: "), 0U) << each;
  }
}

}  // namespace
}  // namespace shmif::test
