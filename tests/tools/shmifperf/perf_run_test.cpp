// shmifperf run, through the program itself: how it ends, and what it exits with.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/unique_fd.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

Words run_words(const Words& options) {
  static const TempDir aux;
  return shmifperf_words({"run", "--aux-path=" + aux.path()}) + options;
}

/// Runs it to its end with results as JSON.
struct Outcome {
  ToolResult tool;
  Json json;
};
Outcome outcome_of(Words options) {
  options.emplace_back("--output-format=json");
  Outcome outcome{run_program(run_words(std::move(options))), {}};
  outcome.json = Json::parse(outcome.tool.out, nullptr, false);
  return outcome;
}

/// Whether one of the reasons for the failure contains `text`.
bool has_failure(const Json& result, const std::string& text) {
  for (const Json& failure : result.at("failures")) {
    if (failure.get<std::string>().find(text) != std::string::npos) return true;
  }
  return false;
}

/// A run that would last for long; its result goes to a file.
class LoggedRun {
 public:
  explicit LoggedRun(const Words& options)
      : tool_(run_words([&] {
          Words all{"--runtime=60",      "--drain_time=100ms",      "--json-stream",
                    "--eta=never",       "--status-interval=100ms", "--output-format=json",
                    "--output=" + path()};
          if (std::ranges::find(options, "--rw=rx") == options.end())
            all.emplace_back("--rate_iops=1000");
          all.insert(all.end(), options.begin(), options.end());
          return all;
        }())) {}

  Tool& tool() { return tool_; }
  bool is_under_way() { return tool_.wait_for("\"state\":\"running\""); }
  Json result() const { return Json::parse(std::ifstream(path())); }

 private:
  std::string path() const { return dir_.file("result.json"); }
  TempDir dir_;
  Tool tool_;
};

TEST(PerfRun, ASignalStopsDrainsAndReports) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    LoggedRun run({"--drain_time=30s"});  // on a busy machine, frames arrive late
    ASSERT_TRUE(run.is_under_way());
    run.tool().signal(number);
    const ToolResult end = run.tool().finish();
    EXPECT_EQ(end.status, 128 + number) << end.err;
    EXPECT_FALSE(end.timed_out);
    const Json result = run.result();
    EXPECT_EQ(result["exit_code"], 128 + number);
    EXPECT_EQ(result["stopped_by_signal"], number);
    EXPECT_TRUE(result["failures"].empty()) << result["failures"];
    EXPECT_GT(result["jobs"][0]["tx"]["frames"], 0);
    EXPECT_EQ(result["jobs"][0]["tx"]["frames"], result["jobs"][1]["rx"]["frames"]) << "drained";
  }
}

TEST(PerfRun, UnderNohupGoesOnAfterAHangUp) {
  Words words = run_words({"--runtime=1", "--rate_iops=1000", "--json-stream", "--eta=never",
                           "--status-interval=100ms"});
  words.insert(words.begin(), "nohup");
  Tool run(words);
  ASSERT_TRUE(run.wait_for("\"state\":\"running\""));
  run.signal(SIGHUP);
  EXPECT_EQ(run.finish().status, 0);
}

TEST(PerfRun, ASecondSignalStopsHard) {
  LoggedRun run({"--exec_postrun=sleep 600"});
  ASSERT_TRUE(run.is_under_way());
  run.tool().signal(SIGINT);
  ASSERT_TRUE(run.tool().wait_for("\"state\":\"finishing\"")) << "and hangs there";
  run.tool().signal(SIGTERM);
  const ToolResult end = run.tool().finish();
  EXPECT_FALSE(end.timed_out);
  EXPECT_EQ(end.status, 128 + SIGINT) << "the one that stopped it";
  EXPECT_EQ(run.result()["stopped_by_signal"], SIGINT);
  EXPECT_TRUE(has_failure(run.result(), "exec_postrun: sleep did not end in time"));
}

TEST(PerfRun, AThreadThatIsStuckForGoodFailsTheRunWhoseReportIsWritten) {
  const TempDir folder;
  const std::string pipe = folder.file("pipe");  // which nobody reads: it takes few frames
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const UniqueFd reader(::open(pipe.c_str(), O_RDWR | O_CLOEXEC));
  ::fcntl(reader.get(), F_SETPIPE_SZ, 4096);
  const Outcome outcome =
      outcome_of({"--thread", "--engine=unix", "--number_ios=10", "--bs=1500",
                  "--write_pcap=" + pipe, "--drain_time=50ms", "--stuck_timeout=200ms"});
  EXPECT_EQ(outcome.tool.status, 1) << outcome.tool.err;
  EXPECT_FALSE(outcome.tool.timed_out);
  EXPECT_TRUE(has_failure(outcome.json, "is stuck"));
  EXPECT_EQ(outcome.json["jobs"][1]["rx"]["frames"], 10);
}

TEST(PerfRun, ASenderWithNoPeerReachesTheReceiverOfAnotherRun) {
  // An address that no other process of this machine uses.
  const auto pid = static_cast<unsigned>(::getpid());
  const std::string host = "--hostname=127.78." + std::to_string(pid / 250 % 250 + 1) + '.' +
                           std::to_string(pid % 250 + 1);
  LoggedRun receiver({"--engine=udp", "--rw=rx", "--verify_only", host, "--port=7000"});
  ASSERT_TRUE(receiver.is_under_way()) << receiver.tool().so_far().err;
  const Outcome sender = outcome_of({"--engine=udp", "--rw=tx", "--no_peer", host, "--port=7000",
                                     "--number_ios=100", "--rate_iops=1000"});
  EXPECT_EQ(sender.tool.status, 0) << sender.tool.err;
  ASSERT_EQ(sender.json["jobs"].size(), 1U);
  EXPECT_EQ(sender.json["jobs"][0]["tx"]["frames"], 100);
  EXPECT_TRUE(sender.json["jobs"][0]["loss"].is_null()) << "nobody here counts what arrives";
  EXPECT_TRUE(receiver.tool().wait_for("\"rx_frames\":100,"));
  receiver.tool().signal(SIGINT);
  EXPECT_EQ(receiver.tool().finish().status, 128 + SIGINT);
  const Json result = receiver.result();
  EXPECT_TRUE(result["failures"].empty()) << result["failures"];
  EXPECT_EQ(result["jobs"][0]["rx"]["frames"], 100);
  EXPECT_EQ(result["jobs"][0]["loss"]["lost_frames"], 0);
}

TEST(PerfRun, ExitsWithOneWhenNothingMovedAndSaysWhy) {
  const Outcome outcome = outcome_of({"--size=10"});
  EXPECT_EQ(outcome.tool.status, 1);
  EXPECT_TRUE(has_failure(outcome.json, "moved no frame (see runtime, number_ios and size)"));
}

TEST(PerfRun, ExitsWithOneForAJobThatDidNotStartAndShowsTheOthers) {
  const Outcome outcome = outcome_of({"--number_ios=10", "--continue_on_start_error", "--name=a",
                                      "--name=b", "--exec_prerun=false"});
  EXPECT_EQ(outcome.tool.status, 1);
  EXPECT_TRUE(has_failure(outcome.json, "job \"b\": did not start"));
  EXPECT_EQ(outcome.json["jobs"][0]["passed"], true);
  EXPECT_EQ(outcome.json["jobs"][1]["rx"]["frames"], 10);
}

TEST(PerfRun, ExitsWithSeventySevenForWhatThisMachineCannotDo) {
  if (const std::string why = why_not_as_nobody(); !why.empty()) GTEST_SKIP() << why;
  if (run_program(kAsNobody + Words{"test", "-w", "/dev/net/tun"}).status == 0) {
    GTEST_SKIP() << "everybody may open /dev/net/tun";
  }
  const ToolResult refused =
      run_program(kAsNobody + shmifperf_words({"run", "--engine=tap", "--number_ios=1"}));
  EXPECT_EQ(refused.status, 77);
  EXPECT_TRUE(has(refused.err, "/dev/net/tun")) << refused.err;
  EXPECT_TRUE(has(refused.err, "engine=packet needs no TAP device"));
}

TEST(PerfRun, WhereThereAreNoNamespacesItNamesTheEnginesThatNeedNone) {
  const Words without{"unshare",
                      "--user",
                      "--map-root-user",
                      "sh",
                      "-c",
                      "for kind in user net mnt; do "
                      "echo 0 > /proc/sys/user/max_${kind}_namespaces || exit 3; done; exec \"$@\"",
                      "sh"};
  if (run_program(without + Words{"true"}).status != 0) {
    GTEST_SKIP() << "no namespaces here to forbid them in";
  }
  const TempDir directory;
  const std::string needless = "engine=bus, unix and udp need no namespace";
  for (const auto& [words, says] : std::vector<std::pair<Words, std::string>>{
           {{"run", "--engine=packet", "--number_ios=1"}, needless},
           {{"run", "--engine=host", "--number_ios=1"}, needless},
           {{"server", "--directory", directory.path()}, directory.path()}}) {
    const ToolResult refused = run_program(without + shmifperf_words(words));
    EXPECT_EQ(refused.status, 77) << refused.err << refused.out;
    EXPECT_TRUE(has(refused.err, says)) << refused.err;
    EXPECT_TRUE(has(refused.err, "sysctl user.max_user_namespaces")) << refused.err;
  }
  EXPECT_EQ(
      run_program(without + shmifperf_words({"run", "--engine=bus", "--number_ios=1"})).status, 0);
}

TEST(PerfRun, ADumpOfTheBusShowsEveryFrameAtItsTime) {
  const TempBus bus;
  const Outcome outcome = outcome_of({"--bus=" + bus.path(), "--number_ios=40", "--rate_iops=200",
                                      "--rate_catchup=skip", "--bs=100"});
  ASSERT_EQ(outcome.tool.status, 0) << outcome.tool.err;
  const ToolResult dump = run_tool({"dump", bus.path(), "--history", "--timeout", "0"});
  // "03:12:16.726123456 ...": hours, minutes, seconds, ns.
  std::istringstream lines(dump.out);
  std::vector<double> times;
  for (std::string line; std::getline(lines, line);) {
    if (line.size() < 18 || line[2] != ':') continue;
    EXPECT_EQ(line.find(' '), 18U) << "to the nanosecond: " << line;
    times.push_back(std::stod(line.substr(0, 2)) * 3600 + std::stod(line.substr(3, 2)) * 60 +
                    std::stod(line.substr(6, 12)));
  }
  ASSERT_EQ(times.size(), 40U) << dump.out << dump.err;
  EXPECT_TRUE(std::is_sorted(times.begin(), times.end())) << "unless it is midnight";
  // 39 gaps of 5 ms; without catching up, a late first frame takes less than one from them.
  EXPECT_GE(times.back() - times.front(), 0.18);
}

TEST(PerfRun, SaysBeforehandHowLongASearchTakesUnlessItIsSoonOver) {
  const Words line{"run",
                   "--engine=unix",
                   "--search=ndr",
                   "--search_max_iops=100",
                   "--drain_time=500ms",
                   "--search_trial=2"};
  const std::string longer = ", or longer on a busy machine, where trials are repeated\n";
  for (const auto& [more, says] : std::vector<std::pair<Words, std::string>>{
           {{}, "1 search with trials of 2.50 s: 10s to 40s" + longer},
           {{"--runtime=30"}, "1 search with trials of 2.50 s: 10s to 33s\n"},
           // Of two, one with a runtime: the other one may take longer.
           {{"--name=a", "--name=b", "--stonewall", "--runtime=30"}, longer}}) {
    Tool tool(shmifperf_words(line + more));
    EXPECT_TRUE(tool.wait_for(says)) << tool.so_far().err;
    tool.signal(SIGINT);
    tool.finish();
  }
  const ToolResult soon = shmifperf(line + Words{"--search_trial=20ms", "--drain_time=20ms"});
  EXPECT_EQ(soon.err, "");
}

// shmifperf report and compare, of results that runs left behind.

/// One run for all tests, for they only read it.
class ResultCommands : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const ToolResult ran = shmifperf(
        {"run", "--engine=bus", "--rate_iops=2000", "--runtime=300ms", "--output-format=json+"});
    ASSERT_EQ(ran.status, 0) << ran.err;
    *result_ = ran.out;
  }
  ResultCommands() : result(dir.file("result.json")) { std::ofstream(result) << *result_; }

  /// The same run with other figures.
  std::string changed(const std::function<void(Json&)>& change,
                      const std::string& name = "changed.json") const {
    Json json = Json::parse(*result_);
    change(json);
    const std::string path = dir.file(name);
    std::ofstream(path) << json.dump();
    return path;
  }
  /// The same run, had the receivers received at this rate, and evenly. The real one is so short
  /// that one pause of the machine makes it as uneven as half of its rate.
  std::string received_at(double fps, const std::string& name) const {
    const auto change = [fps](Json& json) {
      for (Json& job : json["jobs"]) {
        if (job["rx"].is_null()) continue;
        job["rx"]["rate_fps"] = fps;
        for (Json& interval : job["intervals"]) {
          interval["seconds"] = 0.1;
          interval["rx_frames"] = std::lround(fps / 10);
        }
      }
    };
    return changed(change, name);
  }

  TempDir dir;
  std::string result;

 private:
  static std::string* const result_;
};
std::string* const ResultCommands::result_ = new std::string;

TEST_F(ResultCommands, WhatTakesThePlaceOfALongerFileIsAllThereIs) {
  const std::string page = dir.file("page"), output = dir.file("output.json");
  for (const std::string& path : {page, output}) std::ofstream(path) << std::string(4 << 20, 'x');
  EXPECT_EQ(shmifperf({"report", result, "-o", page}).status, 0);
  EXPECT_EQ(text_of_file(page), shmifperf({"report", result, "-o", "-"}).out);
  EXPECT_EQ(text_of_file(page), shmifperf({"report", result, "-o", "/dev/stdout"}).out);
  EXPECT_EQ(shmifperf({"run", "--engine=null", "--rw=tx", "--number_ios=10", "--output-format=json",
                       "--output=" + output})
                .status,
            0);
  EXPECT_TRUE(Json::parse(text_of_file(output), nullptr, false).is_object());
}

TEST_F(ResultCommands, TheTextOfAResultIsThatOfItsRun) {
  const ToolResult summary = shmifperf({"report", result, "--text"});
  EXPECT_EQ(summary.status, 0) << summary.err;
  EXPECT_EQ(summary.out.rfind("shmifperf ", 0), 0U) << summary.out;
  EXPECT_NE(summary.out.find("\n  job    tx  "), std::string::npos) << summary.out;
  EXPECT_NE(summary.out.find("\nuse --details for the rest\n"), std::string::npos) << summary.out;
  EXPECT_EQ(summary.out.find("--rate_iops=2000"), std::string::npos) << summary.out;
  const ToolResult text = shmifperf({"report", result, "--details"});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_EQ(text.out.rfind("shmifperf ", 0), 0U) << text.out;
  EXPECT_NE(text.out.find("--rate_iops=2000"), std::string::npos) << text.out;
  EXPECT_EQ(shmifperf({"report", result, "--text", "--details"}).out, text.out);
}

TEST_F(ResultCommands, ComparePassesWhatIsTheSameAndFailsWhatIsWorse) {
  const std::string even = received_at(2000, "even.json");
  const std::string slower = received_at(1400, "slower.json");
  const std::string failed = changed([](Json& broken) {
    for (Json& job : broken["jobs"]) job["passed"] = false;
  });
  for (const auto& [words, status] :
       std::vector<std::pair<Words, int>>{{{result, result}, 0},
                                          {{even, slower}, 1},
                                          {{even, slower, "--threshold", "40%"}, 0},
                                          {{slower, even}, 0},
                                          {{result, failed}, 1},
                                          {{"-", failed}, 1},
                                          {{failed, "-"}, 0}}) {
    const ToolResult compared =
        shmifperf(Words{"compare"} + words + Words{"--json"}, text_of_file(result));
    EXPECT_EQ(compared.status, status) << words[0] << ' ' << words[1] << compared.err;
    EXPECT_EQ(Json::parse(compared.out)["worse"], status == 1);
  }
  const ToolResult same = shmifperf({"compare", result, result});
  EXPECT_TRUE(has(same.out, "nothing became worse by more than 5")) << same.out;
}

TEST_F(ResultCommands, CompareUsesWhatItWasTold) {
  const ToolResult told = shmifperf({"compare", result, result, "--json", "--threshold=7%",
                                     "--loss-threshold=3%", "--confidence=90%"});
  ASSERT_EQ(told.status, 0) << told.err;
  const Json json = Json::parse(told.out);
  EXPECT_DOUBLE_EQ(json["threshold"].get<double>(), 0.07);
  EXPECT_DOUBLE_EQ(json["loss_threshold"].get<double>(), 0.03);
  EXPECT_DOUBLE_EQ(json["confidence"].get<double>(), 0.9);
  const Json usual = Json::parse(shmifperf({"compare", result, result, "--json"}).out);
  EXPECT_DOUBLE_EQ(usual["threshold"].get<double>(), 0.05);
  EXPECT_DOUBLE_EQ(usual["loss_threshold"].get<double>(), 0.001);
  EXPECT_DOUBLE_EQ(usual["confidence"].get<double>(), 0.95);
}

TEST_F(ResultCommands, ThePageOfResultsStandsBesideTheFirstUnlessToldOtherwise) {
  const std::string slower = received_at(1400, "slower.json");
  Words eight;
  for (char digit = '1'; digit <= '8'; ++digit) {
    eight.push_back(dir.file(std::string(100, digit) + ".json"));
    std::ofstream(eight.back()) << text_of_file(result);
  }
  for (const std::string name : {"plain", "a.json.old"}) {
    std::ofstream(dir.file(name)) << text_of_file(result);
  }
  for (const auto& [words, name] : std::vector<std::pair<Words, std::string>>{
           {{result}, "result.html"},
           {{dir.file("plain")}, "plain.html"},
           {{dir.file("a.json.old")}, "a.json.old.html"},
           {{result, slower}, "result-vs-slower.html"},
           {eight, std::string(100, '1') + "-and-7-more.html"}}) {
    const ToolResult beside = shmifperf(Words{"report"} + words);
    EXPECT_EQ(beside.status, 0) << beside.err;
    EXPECT_EQ(beside.out, "wrote " + dir.file(name) + '\n');
    const std::string page = text_of_file(dir.file(name));
    EXPECT_TRUE(page.starts_with("<!DOCTYPE html>")) << page.substr(0, 100);
    EXPECT_EQ(shmifperf(Words{"report", "-o", dir.file("page")} + words).status, 0);
    EXPECT_EQ(text_of_file(dir.file("page")), page);
  }
  EXPECT_EQ(shmifperf({"report", "-"}, text_of_file(result)).out,
            text_of_file(dir.file("result.html")));
  const std::string both = text_of_file(dir.file("result-vs-slower.html"));
  EXPECT_TRUE(has(both, R"({"overlaid":[{"name":"result.json","result":{)"));
  EXPECT_TRUE(has(both, R"({"name":"slower.json","result":{)"));
}

TEST_F(ResultCommands, WhatCannotBeReadOrWrittenIsRefusedWithItsName) {
  const std::string garbled = dir.file("garbled.json"), foreign = dir.file("foreign.json");
  std::ofstream(garbled) << text_of_file(result).substr(0, 1000);
  std::ofstream(foreign) << R"({"fio version": "fio-3.33", "jobs": []})";
  const std::string newer = changed([](Json& json) {
    json["format_version"] = 2;
    json["shmifperf_version"] = "9.0";
  });
  const std::string gone = dir.file("gone.json"), nowhere = dir.file("none/page.html");
  Words nine{"report"};
  for (int i = 0; i < 9; ++i) nine.push_back(dir.file(std::to_string(i)));
  std::vector<std::tuple<Words, int, std::string>> cases{
      {{"report", result, "-o", "/dev/full"}, 1, "/dev/full: No space left on device"},
      {{"report", result, "-o", nowhere}, 1, "cannot write " + nowhere},
      {{"report", result, "-o", result}, 2, "is the result itself"},
      {{"report", result, newer, result}, 2, result + " is given twice"},
      {{"report", "-", "-"}, 2, "standard input is given twice"},
      {{"report", result, newer, "--text"}, 2, "--text prints one result"},
      {{"report", result, "--text", "-o", "page"}, 2, "--help'"},
      {nine, 2, "at most 8 (leave some out)"},
      {{"report"}, 2, "--help'"},
      {{"compare", result}, 2, "--help'"},
      {{"compare", "-", "-"}, 2, "--help'"},
      {{"compare", result, result, "--threshold", "much"}, 2, "--threshold"},
      {{"compare", result, result, "--confidence", "100%"}, 2, "--confidence"}};
  for (const auto& [path, why] : std::vector<std::pair<std::string, std::string>>{
           {garbled, "it is not JSON (parse error at line "},
           {foreign, "not a result of shmifperf"},
           {newer, "format_version 2 of shmifperf 9.0"},
           {gone, "No such file"}}) {
    cases.push_back({{"report", path}, 1, why});
    cases.push_back({{"compare", result, path}, 1, path});
  }
  for (const auto& [words, status, says] : cases) {
    const ToolResult refused = shmifperf(words);
    EXPECT_EQ(refused.status, status) << words[0] << ' ' << words.back();
    EXPECT_EQ(refused.out, "");
    EXPECT_EQ(count_of_lines(refused.err), 1) << refused.err;
    EXPECT_TRUE(has(refused.err, says)) << refused.err;
  }
  EXPECT_NO_THROW(Json::parse(text_of_file(result))) << "and is still there";
  for (const std::string command : {"report \"$1\" --text >/dev/full", "report - <\"$2\"",
                                    "compare \"$1\" \"$1\" >/dev/full"}) {
    const ToolResult refused =
        run_program({"sh", "-c", "\"$0\" " + command, shmifperf_path(), result, dir.path()});
    EXPECT_EQ(refused.status, 1);
    EXPECT_TRUE(has(refused.err, "standard ")) << refused.err;
  }
}

}  // namespace
}  // namespace shmif::test
