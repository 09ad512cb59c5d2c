// What why, stat and sample have in common, and their options, as people use them.

#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "shmif/bus.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"
#include "tools/shmifperf/watched.hpp"

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

TEST(InstrumentCommands, BreakTheLinesOfATextForTheScreenAndNotForAFile) {
  const TempDir dir;
  const auto longest = [&](const Words& command, const std::string& path) {
    const Words words = shmifperf_words(command + Words{"-o", path, "--", "sleep", "0.1"});
    const ToolResult result = run_program(Words{"env", "COLUMNS=40"} + words);
    std::size_t columns = 0;
    for (const std::string& line : lines_of(path == "-" ? result.out : text_of_file(path)))
      columns = std::max(columns, line.size());
    return columns;
  };
  for (const Words& command : std::vector<Words>{
           {"why"}, {"stat"}, {"sample", "-e", "page-faults:u", "-c", "1"}, {"membw"}}) {
    EXPECT_LT(longest(command, "-"), longest(command, dir.file("text"))) << command[0];
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

// shmifperf stat, as people run it.

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

// shmifperf sample, as people run it.

Json row_in(const Json& json, const std::string& symbol) {
  for (const Json& each : json["profile"]) {
    if (each["symbol"] == symbol) return each;
  }
  return {};
}

TEST(SampleCommand, ShowsTheFunctionsOfAProgramInUserSpace) {
  const TempDir dir;
  const std::string path = dir.file("sample.json");
  const ToolResult result =
      shmifperf({"sample", "-e", "page-faults:u", "-c", "1", "--json", "-o", path, "--",
                 in_build("tests/instruments/known_load"), "faults", "3000", "status", "7"});
  EXPECT_EQ(result.status, 7) << "the exit code of the program: " << result.err;
  EXPECT_EQ(result.out, "");
  const Json json = json_of_file(path);
  const Json row = row_in(json, "(anonymous namespace)::touch_pages(long)");
  EXPECT_EQ(row.size(), 4U) << json;
  EXPECT_EQ(row["object"], "known_load");
  EXPECT_GE(row["samples"].get<int>() + json["lost_samples"].get<int>(), 3000);
  EXPECT_GT(row["share"], 0.5);
  double shares = 0;
  for (const Json& each : json["profile"]) shares += each["share"].get<double>();
  EXPECT_NEAR(shares, 1, 1e-6);
  EXPECT_EQ(json["event"], "page-faults:u");
  EXPECT_EQ(json["partial"], false);
}

TEST(SampleCommand, PrintsATableAndATreeOfCalls) {
  const ToolResult result =
      shmifperf({"sample", "-e", "page-faults:u", "-c", "1", "--callgraph", "--",
                 in_build("tests/instruments/known_load"), "faults", "3000"});
  EXPECT_EQ(result.status, 0) << result.err;
  const auto lines = lines_of(result.out);
  ASSERT_GE(lines.size(), 4U) << result.out;
  EXPECT_NE(lines[0].find(" samples of page-faults:u in "), std::string::npos) << lines[0];
  EXPECT_EQ(lines[1].find("  function "), 0U);
  EXPECT_EQ(lines[2].find("  (anonymous namespace)::touch_pages(long) "), 0U) << result.out;
  EXPECT_NE(result.out.find("\ncalls, by the kernel's walk along frame pointers"),
            std::string::npos);
  EXPECT_NE(result.out.find("%  "), std::string::npos);
  const ToolResult none =
      shmifperf({"sample", "-e", "page-faults:u", "-c", "1", "--least", "100%", "--",
                 in_build("tests/instruments/known_load"), "faults", "3000"});
  EXPECT_NE(none.out.find(" samples of page-faults:u in "), std::string::npos) << none.out;
  EXPECT_EQ(none.out.find("touch_pages"), std::string::npos) << "the loader had faults, too";
}

TEST(SampleCommand, KeepsSamplesInTheFormatsOfTheRegistry) {
  for (const std::string format : {"raw", "addresses", "chains"}) {
    const ToolResult result =
        shmifperf({"sample", "-e", "page-faults:u", "-c", "1", "--format", format, "--",
                   in_build("tests/instruments/known_load"), "faults", "100"});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_NE(result.out.find("process "), std::string::npos) << format;
    EXPECT_NE(result.out.find("0x"), std::string::npos) << format;
  }
}

TEST(SampleCommand, NamesTheFunctionsOfAProcessThatRanBefore) {
  Tool load({in_build("tests/instruments/known_load"), "burn", "60000"});
  Tool tool(
      shmifperf_words({"sample", "-e", "cpu-clock:u", "--json", "-p", std::to_string(load.pid())}));
  EXPECT_TRUE(eventually([&] { return sleeps_in_poll(tool.pid()); }));
  const auto ran = [&] {
    const std::string stat = text_of_file("/proc/" + std::to_string(load.pid()) + "/stat");
    std::istringstream fields(stat.substr(stat.rfind(')') + 1));
    std::string field;
    for (int at = 0; at < 12; ++at) fields >> field;  // utime, in ticks
    return std::atol(field.c_str());
  };
  const long before = ran();
  EXPECT_TRUE(eventually([&] { return ran() > before + 30; }));
  tool.signal(SIGINT);
  const Json json = parsed(tool.finish());
  EXPECT_GT(json["samples"], 10) << json;
  bool named = false;
  for (const Json& each : json["profile"]) named = named || each["object"] == "known_load";
  EXPECT_TRUE(named) << json;
  EXPECT_EQ(::kill(load.pid(), 0), 0);
}

TEST(SampleCommand, SamplesEverythingThatRunsOnCpus) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: samples whole CPUs";
  for (const Words& where : {Words{"-a"}, Words{"-C", "0"}}) {
    Words words{"sample", "--json", "-e", "page-faults:u", "-c", "1"};
    words.insert(words.end(), where.begin(), where.end());
    words.insert(words.end(), {"--", in_build("tests/instruments/known_load"), "faults", "3000"});
    words = shmifperf_words(words);
    if (where.size() > 1) words.insert(words.begin(), {"taskset", "-c", "0"});
    const ToolResult result = run_program(words);
    EXPECT_EQ(result.status, 0) << result.err;
    const Json json = parsed(result);
    EXPECT_EQ(json["cpus"][0], 0) << json;
    EXPECT_GE(json["samples"].get<std::uint64_t>() + json["lost_samples"].get<std::uint64_t>(),
              3000U);
    bool named = false;
    for (const Json& each : json["profile"])
      named = named || each["symbol"].get<std::string>().find("touch_pages") != std::string::npos;
    // What others do at the same time may fill the rings, and its mappings are then lost, too.
    EXPECT_TRUE(named || json["lost_samples"] > 0) << json;
  }
}

TEST(SampleCommand, SaysWhyItCannotSample) {
  const ToolResult pmu = shmifperf({"sample", "-e", "nothing/event=1/", "--", "true"});
  EXPECT_EQ(pmu.status, 77);
  EXPECT_TRUE(has(pmu.err, "this machine has no PMU \"nothing\"")) << pmu.err;
  expect_wrong_lines("sample",
                     {{{"-e", "cpu-clok", "--", "true"}, "did you mean cpu-clock?"},
                      {{"-F", "99", "-c", "5", "--", "true"}, "-F and -c exclude each other"},
                      {{"-F", "0", "--", "true"}, "--frequency"},
                      {{"-c", "0", "--", "true"}, "--period"},
                      {{"--least", "x", "--", "true"}, "--least"},
                      {{"--format", "raw", "--callgraph", "--", "true"}, "are for --format"},
                      {{"--format", "rav", "--", "true"}, "no sampling format \"rav\""},
                      {{"--format", "raw", "--json", "--", "true"}, "are for --format profile"},
                      {{"--format", "raw:max=0", "--", "true"}, "\"max=0\": it must be 1 to"},
                      {{"--format", "profile:x", "--", "true"}, "profile takes no argument"},
                      {{"-C", "0,60000"}, "CPU 60000 is not online (online are 0"},
                      {{"-a", "-p", "1"}, "-p cannot be combined with -a or -C"}});
}

// shmifperf why, as people run it.

TEST(WhyCommand, PrintsATableAndThatNothingHeldBackAProgramThatSleeps) {
  const ToolResult result = shmifperf({"why", "--", "sleep", "0.5"});
  EXPECT_EQ(result.status, 0) << result.err;
  const auto lines = lines_of(result.out);
  ASSERT_GE(lines.size(), 4U) << result.out;
  EXPECT_EQ(lines[0].find("watched for "), 0U) << result.out;
  EXPECT_EQ(lines[1].find("  thread "), 0U) << result.out;
  EXPECT_EQ(lines[2].find("  sleep "), 0U) << result.out;
  EXPECT_NE(result.out.find("\nmachine: steal "), std::string::npos) << result.out;
  EXPECT_EQ(lines.back().find("nothing held it back: sleep "), 0U) << result.out;
}

TEST(WhyCommand, WritesCausesTasksAndTheMachineAsJson) {
  const TempDir dir;
  const std::string path = dir.file("why.json");
  const ToolResult result =
      shmifperf({"why", "--json", "--output", path, "--", "sh", "-c", "echo hello; sleep 2"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "hello\n");
  const Json json = json_of_file(path);
  ASSERT_TRUE(json.is_object());
  EXPECT_TRUE(json["causes"].is_array());
  EXPECT_EQ(json["partial"], false);
  EXPECT_GE(json["looks"], 2);
  std::set<std::string> names;
  for (const Json& task : json["tasks"]) {
    EXPECT_EQ(task["job"], "sh");
    names.insert(task["name"]);
    const double sum = task["running_share"].get<double>() + task["asleep_share"].get<double>() +
                       task["stopped_share"].get<double>() +
                       (task["waiting_share"].is_null() ? 0 : task["waiting_share"].get<double>());
    EXPECT_NEAR(sum, 1, 1e-6) << task;
  }
  EXPECT_TRUE(names.contains("sleep")) << "a child is watched as well";
  EXPECT_TRUE(json["machine"].contains("steal_share"));
  EXPECT_TRUE(json["missing"].is_array());
}

TEST(WhyCommand, WatchesProcessesThatRunAlreadyAndTellsThoseOfOneNameApart) {
  Tool first({"sleep", "600"}), second({"sleep", "600"});
  Tool tool(shmifperf_words({"why", "--json", "--interval", "20ms", "-p",
                             std::to_string(first.pid()) + ',' + std::to_string(second.pid())}));
  EXPECT_TRUE(eventually([&] { return sleeps_in_poll(tool.pid()); }));
  first.signal(SIGKILL);
  second.signal(SIGKILL);
  const ToolResult result = tool.finish();
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = parsed(result);
  ASSERT_TRUE(json.is_object()) << result.out;
  std::set<std::string> jobs;
  for (const Json& task : json["tasks"]) jobs.insert(task["job"]);
  EXPECT_EQ(jobs, (std::set<std::string>{"sleep", "sleep(" + std::to_string(second.pid()) + ')'}))
      << json;
}

TEST(WhyCommand, LooksAsSeldomAsItIsToldAndLeavesAProcessAloneAfterASignal) {
  Tool watched({"sleep", "600"});
  Tool tool(
      shmifperf_words({"why", "--json", "--interval", "60s", "-p", std::to_string(watched.pid())}));
  ASSERT_TRUE(eventually([&] { return sleeps_in_poll(tool.pid()); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(250));
  tool.signal(SIGINT);
  const ToolResult result = tool.finish();
  EXPECT_EQ(result.status, 128 + SIGINT);
  const Json json = parsed(result);
  ASSERT_TRUE(json.is_object()) << result.out << result.err;
  EXPECT_EQ(json["looks"], 1) << "at the begin and at the end";
  EXPECT_EQ(json["partial"], true);
  EXPECT_EQ(json["tasks"].size(), 1U);
  EXPECT_EQ(json["tasks"][0]["ended"], false);
  EXPECT_EQ(::kill(watched.pid(), 0), 0);
  watched.signal(SIGKILL);
  watched.finish();
}

TEST(WhyCommand, TellsOfEachBus) {
  const TempDir dir;
  const std::string first = dir.file("first"), second = dir.file("second");
  for (const std::string& bus : {first, second}) ASSERT_TRUE(Bus::create(bus, {}));
  const ToolResult result =
      shmifperf({"why", "--json", "--bus", first, "--bus", second, "--", "true"});
  const Json json = parsed(result);
  ASSERT_TRUE(json.is_object()) << result.out << result.err;
  ASSERT_EQ(json["buses"].size(), 2U) << json;
  EXPECT_EQ(json["buses"][0]["bus"], first);
  EXPECT_EQ(json["buses"][0]["lock_sleeps"], 0);
  EXPECT_EQ(json["buses"][1]["bus"], second);
  const ToolResult none = shmifperf({"why", "--bus", dir.file("none"), "--", "true"});
  EXPECT_EQ(none.status, 1);
  EXPECT_TRUE(has(none.err, dir.file("none"))) << none.err;
}

TEST(WhyCommand, RefusesAWrongLine) {
  expect_wrong_lines("why", {{{}, "nothing to watch"},
                             {{"-p", "1", "--", "true"}, "cannot be watched together"},
                             {{"-p", "x"}, "\"x\" is not the number of a process"},
                             {{"--interval", "9999us", "--", "true"}, "it must be 10ms to 60s"},
                             {{"--interval", "60001ms", "--", "true"}, "it must be 10ms to 60s"},
                             {{"true"}, "\"true\" is one argument too many"}});
}

/// Below a root without files, everything that is missing is told.
TEST(WhyCommand, SaysWhatItCouldNotSee) {
  const TempDir dir;
  const ToolResult result = shmifperf({"why", "--sysroot", dir.path(), "--", "true"});
  EXPECT_EQ(result.status, 77) << "skipped, for Automake and Meson";
  EXPECT_NE(result.err.find(dir.path() + "/proc/"), std::string::npos) << result.err;
}

// shmifperf capabilities, of this machine and of a tree.

TEST(CapabilitiesCommand, HasAnEntryForEachInstrumentInOneOfThreeStates) {
  const Json json = Json::parse(shmifperf({"capabilities", "--json"}).out, nullptr, false);
  ASSERT_TRUE(json.is_object());
  std::map<std::string, std::string> states, tested;
  for (const Json& each : json["instruments"]) {
    EXPECT_EQ(each.size(), 5U) << each;
    const std::string state = each["state"];
    EXPECT_TRUE(state == "supported" || state == "not_supported" || state == "not_permitted");
    EXPECT_TRUE(state == "supported" || each["reason"] != "") << each;
    EXPECT_TRUE(states.emplace(each["name"], state).second) << each;
    tested[each["name"]] = each["tested"];
  }
  const auto is = [](bool there) { return there ? "supported" : "not_supported"; };
  EXPECT_EQ(states["why"], "supported");
  EXPECT_EQ(states["why.schedstat"], is(std::filesystem::exists("/proc/self/schedstat")));
  EXPECT_EQ(states["why.psi"], is(text_of_file("/proc/pressure/memory") != ""));
  EXPECT_EQ(states["why.softnet"], is(std::filesystem::exists("/proc/net/softnet_stat")));
  // What never ran on the hardware that it is for.
  EXPECT_TRUE(has(tested["membw.pmu"], "never on memory controllers"));
  EXPECT_TRUE(has(tested["membw.resctrl"], "never on a processor with resctrl"));
  EXPECT_EQ(tested["membw.allocation"], tested["membw.resctrl"]);
  EXPECT_EQ(tested["membw.software"], "");
  const std::string text = shmifperf({"capabilities"}).out;
  EXPECT_EQ(times_in(text, "tested " + tested["membw.resctrl"]), 2U) << text;
}

TEST(CapabilitiesCommand, PrintsATableWithWhatIsMissingAndWhy) {
  const TempDir dir;
  std::filesystem::create_directories(dir.path() + "/proc/sys/vm");
  std::filesystem::create_directories(dir.path() + "/proc/sys/kernel");
  std::ofstream(dir.path() + "/proc/sys/vm/unprivileged_userfaultfd") << "0\n";
  std::ofstream(dir.path() + "/proc/sys/kernel/osrelease") << "6.1.0-50-amd64\n";
  const std::string table = shmifperf({"capabilities", "--sysroot", dir.path()}).out;
  const auto entry = [&](const std::string& name) {
    const std::size_t begin = table.find('\n' + name + ' ');
    return begin == std::string::npos ? name : table.substr(begin, 600);
  };
  EXPECT_TRUE(has(entry("why.schedstat"),
                  "  not supported  cannot open " + dir.path() + "/proc/self/schedstat: "))
      << table;
  EXPECT_TRUE(has(table, "to change that: psi=1 on the kernel's command line")) << table;
  const std::string client = entry("heat.client");
  EXPECT_TRUE(has(client, "  supported  ")) << client;
  EXPECT_TRUE(has(client, "to change that: Linux 6.7 or newer")) << client;
}

}  // namespace
}  // namespace shmif::test
