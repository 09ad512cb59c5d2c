// shmifperf why, as people run it.

#include <gtest/gtest.h>

#include <csignal>
#include <set>
#include <thread>

#include "shmif/bus.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

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

}  // namespace
}  // namespace shmif::test
