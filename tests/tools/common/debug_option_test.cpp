// --debug of shmifctl and shmifperf, through the programs themselves.

#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

using Words = std::vector<std::string>;

ToolResult shmifperf(Words arguments) {
  arguments.insert(arguments.begin(), shmifperf_path());
  return run_program(std::move(arguments));
}

ToolResult shmifctl(Words arguments) {
  arguments.insert(arguments.begin(), shmifctl_path());
  return run_program(std::move(arguments));
}

struct Line {
  std::string pid, category, job, text;
};

/// The debug lines among `written`. Each must be whole.
std::vector<Line> debug_lines(const std::string& written) {
  static const std::regex shape(
      "debug \\d\\d:\\d\\d:\\d\\d\\.\\d{6} (\\d+) ([a-z]+): (\\[([^\\]]*)\\] )?(.*)");
  std::vector<Line> lines;
  std::istringstream in(written);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("debug ")) {
      EXPECT_EQ(line.find("debug "), std::string::npos) << "two lines mixed: " << line;
      continue;
    }
    std::smatch found;
    if (!std::regex_match(line, found, shape)) {
      ADD_FAILURE() << line;
      continue;
    }
    lines.push_back({found[1], found[2], found[4], found[5]});
  }
  return lines;
}

std::set<std::string> categories_of(const std::vector<Line>& lines) {
  std::set<std::string> all;
  for (const Line& line : lines) all.insert(line.category);
  return all;
}

bool has(const std::vector<Line>& lines, const std::string& category, const std::string& job,
         const std::string& text) {
  for (const Line& line : lines) {
    if (line.category == category && line.job == job && line.text.find(text) != std::string::npos)
      return true;
  }
  return false;
}

Words run_of(const std::string& directory, const std::string& debug) {
  return {"run",
          "--debug=" + debug,
          "--rw=tx",
          "--name=calls",
          "--bs=64",
          "--rate_iops=2000",
          "--number_ios=100",
          "--aux-path=" + directory,
          "--output=" + directory + "/result"};
}

TEST(DebugOption, ListsTheCategoriesAndNamesAnUnknownOneWithTheNearest) {
  for (const auto& program : {shmifctl, shmifperf}) {
    const ToolResult list = program({"--debug=help"});
    EXPECT_EQ(list.status, 0) << list.err;
    for (const char* name :
         {"\n  plan ", "\n  process ", "\n  rate ", "\n  verify ", "\n  wire ", "\n  remote ",
          "\n  trigger ", "\n  relay ", "\n  link ", "\n  all "}) {
      EXPECT_NE(list.out.find(name), std::string::npos) << name << list.out;
    }
    const ToolResult wrong = program({"--debug=rate,proces", "help"});
    EXPECT_EQ(wrong.status, 2);
    EXPECT_EQ(wrong.out, "");
    EXPECT_NE(wrong.err.find("--debug \"proces\" is not a category, did you mean \"process\"? "
                             "(plan, process, "),
              std::string::npos)
        << wrong.err;
    EXPECT_NE(program({"--debug"}).err.find("--debug needs a value"), std::string::npos);
  }
  const ToolResult behind = shmifperf({"run", "--debug", "speed", "--rw=tx", "--number_ios=1"});
  EXPECT_EQ(behind.status, 2);
  EXPECT_NE(behind.err.find("--debug \"speed\" is not a category"), std::string::npos)
      << behind.err;
}

TEST(DebugOption, ARunTellsOnlyOfWhatItWasAskedFor) {
  const TempDir directory;
  const ToolResult silent =
      shmifperf({"run", "--rw=tx", "--number_ios=100", "--output", directory.path() + "/result"});
  EXPECT_EQ(silent.status, 0) << silent.err;
  EXPECT_TRUE(debug_lines(silent.err).empty()) << silent.err;
  for (const std::string each : {"plan", "process", "verify", "rate", "wire"}) {
    const ToolResult run = shmifperf(run_of(directory.path(), each));
    EXPECT_EQ(run.status, 0) << run.err;
    EXPECT_EQ(categories_of(debug_lines(run.err)), std::set<std::string>{each}) << run.err;
  }
}

TEST(DebugOption, ARunCanBeFollowedFromItsPlanToItsFlows) {
  const TempDir directory;
  const ToolResult run = shmifperf(run_of(directory.path(), "all"));
  EXPECT_EQ(run.status, 0) << run.err;
  const std::vector<Line> lines = debug_lines(run.err);
  EXPECT_TRUE(has(lines, "plan", "", "job calls, group calls, from command line")) << run.err;
  EXPECT_TRUE(has(lines, "plan", "", "rate_iops=2000")) << run.err;
  EXPECT_TRUE(has(lines, "plan", "", "job calls.sink, group calls")) << run.err;
  EXPECT_TRUE(has(lines, "wire", "", "for calls calls.sink")) << run.err;
  for (const std::string job : {"calls", "calls.sink"}) {
    EXPECT_TRUE(has(lines, "process", "", "job " + job + " is process ")) << run.err;
    for (const char* state : {"is created", "is initialised", "is running", "is draining",
                              "is verifying", "is finishing", "is exited"}) {
      EXPECT_TRUE(has(lines, "process", job, state)) << job << ' ' << state << '\n' << run.err;
    }
    EXPECT_TRUE(has(lines, "process", "", "job " + job + " ended with status 0")) << run.err;
    EXPECT_TRUE(has(lines, "wire", job, "has its end of bus:")) << run.err;
  }
  EXPECT_TRUE(has(lines, "process", "", "2 of 2 jobs are ready")) << run.err;
  EXPECT_TRUE(
      has(lines, "rate", "calls", "sends at a fixed rate; limits: 100 frames, unlimited bytes"))
      << run.err;
  EXPECT_TRUE(has(lines, "rate", "calls",
                  "stops sending, at a limit of frames or bytes: 100 sequence numbers used"))
      << run.err;
  EXPECT_TRUE(has(lines, "verify", "calls.sink", "expects flow 0 from calls")) << run.err;
  EXPECT_TRUE(has(lines, "verify", "", "flow from calls to calls.sink: sent 100, received 100"))
      << run.err;
  EXPECT_TRUE(has(lines, "trigger", "", "there is no trigger")) << run.err;
  // Lines of a job come from its own process.
  std::map<std::string, std::set<std::string>> pids;
  for (const Line& line : lines) pids[line.job].insert(line.pid);
  EXPECT_EQ(pids["calls"].size(), 1U);
  EXPECT_EQ(pids["calls.sink"].size(), 1U);
  EXPECT_NE(pids["calls"], pids["calls.sink"]);
  EXPECT_FALSE(pids[""].contains(*pids["calls"].begin()));
}

TEST(DebugOption, AFailureAndATriggerSayWhy) {
  const TempDir directory;
  const ToolResult failed = shmifperf(
      {"run", "--debug=process", "--rw=tx", "--number_ios=1", "--exec_prerun=/no/such/program",
       "--output", directory.path() + "/result", "--aux-path", directory.path()});
  EXPECT_EQ(failed.status, 1);
  const std::vector<Line> lines = debug_lines(failed.err);
  EXPECT_TRUE(has(lines, "process", "job", "runs exec_prerun")) << failed.err;
  EXPECT_TRUE(has(lines, "process", "job", "fails: exec_prerun: ")) << failed.err;
  EXPECT_TRUE(has(lines, "process", "", "orders job job.sink to stop")) << failed.err;

  const ToolResult fired =
      shmifperf({"run", "--debug=trigger,verify", "--rw=tx", "--rate_iops=1k", "--runtime=60",
                 "--trigger-timeout=100ms", "--output", directory.path() + "/result", "--aux-path",
                 directory.path()});
  const std::vector<Line> told = debug_lines(fired.err);
  EXPECT_TRUE(has(told, "trigger", "", "waits for 100 ms since the start")) << fired.err;
  EXPECT_TRUE(has(told, "trigger", "", "fires: trigger-timeout has passed")) << fired.err;
  EXPECT_TRUE(has(told, "verify", "job", "job-verify.state (the trigger fired)")) << fired.err;
}

TEST(DebugOption, AnEmulatedHostOrAThreadSpeaksInTheNameOfItsJob) {
  const TempDir directory;
  Words words = run_of(directory.path(), "process");
  words.emplace_back("--thread");
  const ToolResult run = shmifperf(words);
  EXPECT_EQ(run.status, 0) << run.err;
  const std::vector<Line> lines = debug_lines(run.err);
  EXPECT_TRUE(has(lines, "process", "", "job calls is a thread")) << run.err;
  EXPECT_TRUE(has(lines, "process", "calls", "is running")) << run.err;
  EXPECT_TRUE(has(lines, "process", "calls.sink", "is running")) << run.err;
}

TEST(DebugOption, AServerTellsOfItsClientsAndRunsAndTheClientOfItsServers) {
  Tool server(
      {shmifperf_path(), "server", "--debug=remote,process", "--listen", "127.0.0.1:0", "--once"});
  ASSERT_TRUE(server.wait_for("listens"));
  const std::string& out = server.so_far().out;
  const std::string address = out.substr(out.rfind(' ') + 1, out.rfind('\n') - out.rfind(' ') - 1);
  const ToolResult run =
      shmifperf({"run", "--client", address, "--debug=remote", "--rw=tx", "--number_ios=100"});
  EXPECT_EQ(run.status, 0) << run.err;
  const std::vector<Line> lines = debug_lines(run.err);
  EXPECT_TRUE(has(lines, "remote", "", "connects to " + address)) << run.err;
  EXPECT_TRUE(has(lines, "remote", "", address + " says \"prepared\"")) << run.err;
  EXPECT_TRUE(has(lines, "remote", "", address + " is told to start its jobs")) << run.err;
  EXPECT_TRUE(has(lines, "remote", "", address + " says \"finished\"")) << run.err;
  const ToolResult served = server.finish();
  EXPECT_EQ(served.status, 0) << served.err;
  const std::vector<Line> of_server = debug_lines(served.err);
  EXPECT_TRUE(has(of_server, "remote", "", "says \"jobs\"")) << served.err;
  EXPECT_TRUE(has(of_server, "process", "job", "is running")) << served.err;
}

TEST(DebugOption, ShmifctlTellsOfItsPorts) {
  const TempDir directory;
  const std::string bus = directory.path() + "/bus";
  ASSERT_EQ(shmifctl({"create", bus}).status, 0);
  Tool bridge({shmifctl_path(), "bridge", "bus:" + bus,
               "dgram:" + directory.path() + "/here," + directory.path() + "/there",
               "--debug=wire,relay"});
  ASSERT_TRUE(bridge.wait_for(" is up")) << bridge.so_far().err;
  bridge.signal(SIGTERM);
  const ToolResult ended = bridge.finish();
  const std::vector<Line> lines = debug_lines(ended.err);
  EXPECT_TRUE(has(lines, "wire", "", "is attached to " + bus + " in slot 0")) << ended.err;
  EXPECT_TRUE(has(lines, "relay", "", "pair 0 of the bridge: ")) << ended.err;
}

/// The lines of an instrument that watches a short program.
std::vector<Line> lines_of(Words command) {
  const ToolResult ran = shmifperf(std::move(command));
  EXPECT_EQ(ran.status, 0) << ran.err;
  return debug_lines(ran.err);
}

/// The line with this text, of the only category; empty if there is none.
std::string line_with(const std::vector<Line>& lines, const std::string& category,
                      const std::string& text) {
  EXPECT_EQ(categories_of(lines), (std::set<std::string>{category}));
  for (const Line& line : lines) {
    if (line.text.find(text) != std::string::npos) return line.text;
  }
  return {};
}

TEST(DebugOption, HeatTellsHowAProcessIsWatchedAndOfEachWindow) {
  const auto lines = lines_of(
      {"heat", "--debug=heat", "--backend=clear_refs", "--windows=2", "--", "sleep", "30"});
  const std::string watched = line_with(lines, "heat", " is watched by ");
  const std::string process = watched.substr(0, watched.find(" is watched"));
  EXPECT_EQ(watched, process +
                         " is watched by clear_refs, of each mapping, by "
                         "/proc/PID/clear_refs, Referenced in /proc/PID/smaps");
  EXPECT_TRUE(has(lines, "heat", "", process + ", window 1: "));
  EXPECT_TRUE(has(lines, "heat", "", process + ", window 2: "));
  EXPECT_FALSE(has(lines, "heat", "", process + ", window 3: "));
  EXPECT_EQ(line_with(lines, "heat", "ranges to watch").substr(0, process.size()), process);
}

TEST(DebugOption, StatTellsWhatIsCountedWhereAndWhen) {
  const auto lines = lines_of({"stat", "--debug=counters", "-e", "page-faults:u", "--", "true"});
  std::vector<std::string> texts;
  for (const Line& line : lines) texts.push_back(line.text);
  ASSERT_EQ(texts.size(), 3U);
  EXPECT_TRUE(std::regex_match(texts[0], std::regex("set 0 on thread \\d+: \"page-faults:u\"")))
      << texts[0];
  EXPECT_EQ(texts[1], "session: loaded");
  EXPECT_EQ(texts[2], "session: counts");
}

TEST(DebugOption, SampleTellsOfItsSessionAsStatDoes) {
  const auto lines = lines_of({"sample", "--debug=counters", "--", "true"});
  EXPECT_NE(line_with(lines, "counters", "session: loaded"), "");
}

TEST(DebugOption, MembwTellsOfItsSources) {
  const ToolResult ran =
      shmifperf({"membw", "--debug=membw", "--sysroot=/nowhere", "--load=fill:size=64k",
                 "--samples=1", "--window=10ms", "--settle=1ms"});
  const auto lines = debug_lines(ran.err);
  EXPECT_NE(line_with(lines, "membw", "source resctrl cannot be used: "), "");
  EXPECT_NE(line_with(lines, "membw", "source software is open: the load's own count"), "");
  EXPECT_NE(line_with(lines, "membw", "sample 1; the load's own count: "), "");
}

TEST(DebugOption, WhyTellsWhomItLooksAt) {
  const auto lines = lines_of({"why", "--debug=why", "--", "sleep", "0.3"});
  EXPECT_EQ(line_with(lines, "why", "job 0"), "job 0 of the diagnosis is sleep");
  EXPECT_NE(line_with(lines, "why", "looks at the network namespace of process "), "");
  EXPECT_NE(line_with(lines, "why", ", of job sleep"), "");
}

}  // namespace
}  // namespace shmif::test
