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
      EXPECT_FALSE(contains(line, "debug ")) << "two lines mixed";
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
      EXPECT_TRUE(contains(list.out, name));
    }
    const ToolResult wrong = program({"--debug=rate,proces", "help"});
    EXPECT_EQ(wrong.status, 2);
    EXPECT_EQ(wrong.out, "");
    EXPECT_TRUE(contains(wrong.err,
                         "--debug \"proces\" is not a category, did you mean \"process\"? "
                         "(plan, process, "));
    EXPECT_TRUE(contains(program({"--debug"}).err, "--debug needs a value"));
  }
  const ToolResult behind = shmifperf({"run", "--debug", "speed", "--rw=tx", "--number_ios=1"});
  EXPECT_EQ(behind.status, 2);
  EXPECT_TRUE(contains(behind.err, "--debug \"speed\" is not a category"));
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
  for (const auto& [category, job, text] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"plan", "", "job calls, group calls, from command line"},
           {"plan", "", "rate_iops=2000"},
           {"wire", "", "for calls calls.sink"},
           {"wire", "calls.sink", "has its end of bus:"},
           {"process", "", "job calls is process "},
           {"process", "", "2 of 2 jobs are ready"},
           {"process", "calls", "is running"},
           {"process", "calls.sink", "is verifying"},
           {"process", "", "job calls ended with status 0"},
           {"rate", "calls", "sends at a fixed rate; limits: 100 frames"},
           {"verify", "calls.sink", "expects flow 0 from calls"},
           {"verify", "", "flow from calls to calls.sink: sent 100, received 100"},
           {"trigger", "", "there is no trigger"}}) {
    EXPECT_TRUE(has(lines, category, job, text)) << text << '\n' << run.err;
  }
  // Lines of a job come from its own process.
  std::map<std::string, std::set<std::string>> pids;
  for (const Line& line : lines) pids[line.job].insert(line.pid);
  EXPECT_EQ(pids["calls"].size(), 1U);
  EXPECT_NE(pids["calls"], pids["calls.sink"]);
  EXPECT_FALSE(pids[""].contains(*pids["calls"].begin()));
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
  ASSERT_TRUE(bridge.wait_for(" is up"));
  bridge.signal(SIGTERM);
  const ToolResult ended = bridge.finish();
  const std::vector<Line> lines = debug_lines(ended.err);
  EXPECT_TRUE(has(lines, "wire", "", "is attached to " + bus + " in slot 0")) << ended.err;
  EXPECT_TRUE(has(lines, "relay", "", "pair 0 of the bridge: ")) << ended.err;
}

TEST(DebugOption, EachInstrumentTellsWhatItWatches) {
  const TempDir directory;
  for (const auto& [category, words, texts] : std::vector<std::tuple<std::string, Words, Words>>{
           {"heat",
            {"heat", "--backend=clear_refs", "--windows=2", "--", "sleep", "30"},
            {" is watched by clear_refs", "window 2: ", "ranges to watch"}},
           {"counters", {"stat", "-e", "page-faults:u", "--", "true"}, {"set 0 on thread "}},
           {"counters", {"sample", "--", "true"}, {"session: loaded"}},
           {"membw",
            {"membw", "--load=fill:size=64k", "--samples=1", "--window=10ms", "--settle=1ms"},
            {"source software is open: the load's own count", "sample 1; "}},
           {"why", {"why", "--", "sleep", "0.3"}, {"job 0 of the diagnosis is sleep"}},
           {"trigger",
            {"run", "--rw=tx", "--rate_iops=1k", "--trigger-timeout=100ms", "--runtime=60",
             "--output=/dev/null", "--aux-path=" + directory.path()},
            {"waits for 100 ms since the start", "fires: trigger-timeout has passed"}}}) {
    Words line = words;
    line.insert(line.begin() + 1, "--debug=" + category);
    const ToolResult ran = shmifperf(line);
    const std::vector<Line> lines = debug_lines(ran.err);
    EXPECT_EQ(categories_of(lines), std::set<std::string>{category}) << ran.err;
    for (const std::string& text : texts) {
      EXPECT_TRUE(has(lines, category, "", text)) << text << '\n' << ran.err;
    }
  }
}

}  // namespace
}  // namespace shmif::test
