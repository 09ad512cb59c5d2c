// shmifperf run, through the program itself: how it ends, and what it exits with.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/run_tool.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

Words run_words(Words options) {
  static const TempDir aux;
  options.insert(options.begin(), {shmifperf_path(), "run", "--aux-path=" + aux.path()});
  return options;
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
  const Outcome outcome = outcome_of({"--thread", "--engine=unix", "--number_ios=10",
                                      "--exec_postrun=sleep 600", "--stuck_timeout=200ms"});
  EXPECT_EQ(outcome.tool.status, 1) << outcome.tool.err;
  EXPECT_FALSE(outcome.tool.timed_out);
  EXPECT_TRUE(has_failure(outcome.json, "is stuck"));
  EXPECT_EQ(outcome.json["jobs"][1]["rx"]["frames"], 10);
}

TEST(PerfRun, ExitsWithZeroWhenAllPassed) {
  const Outcome outcome = outcome_of({"--number_ios=100", "--engine=bus,unix"});
  EXPECT_EQ(outcome.tool.status, 0) << outcome.tool.err;
  EXPECT_EQ(outcome.json["passed"], true);
  EXPECT_EQ(outcome.json["jobs"].size(), 4U);
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

TEST(PerfRun, PoissonBelowAFrameASecondNeitherCrashesNorPasses) {
  const Outcome outcome = outcome_of({"--rate_process=poisson", "--rate=1bit", "--runtime=200ms",
                                      "--start_delay=1ms", "--drain_time=50ms"});
  // The first frame is due at once, and the next one not for minutes.
  EXPECT_EQ(outcome.tool.status, 0) << outcome.tool.err;
  EXPECT_EQ(outcome.json["jobs"][0]["tx"]["frames"], 1);
}

TEST(PerfRun, ExitsWithOneForAJobThatDidNotStartAndShowsTheOthers) {
  const Outcome outcome = outcome_of({"--number_ios=10", "--continue_on_start_error", "--name=a",
                                      "--name=b", "--exec_prerun=false"});
  EXPECT_EQ(outcome.tool.status, 1);
  EXPECT_TRUE(has_failure(outcome.json, "job \"b\": did not start"));
  EXPECT_EQ(outcome.json["jobs"][0]["passed"], true);
  EXPECT_EQ(outcome.json["jobs"][1]["rx"]["frames"], 10);
}

TEST(PerfRun, ExitsWithTwoForWrongUsage) {
  for (const Words& options : {Words{}, Words{"--rate=many"}, Words{"--engine=null", "--rw=rx"},
                               Words{"--runtime=1", "--name=a", "--wait_for=b"}}) {
    EXPECT_EQ(run_program(run_words(options)).status, 2);
  }
}

TEST(PerfRun, ExitsWithSeventySevenForWhatThisMachineCannotDo) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: becomes another user";
  const Words as_other{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"};
  const auto with = [&](const Words& more) {
    Words all = as_other;
    all.insert(all.end(), more.begin(), more.end());
    return run_program(all);
  };
  if (with({shmifperf_path(), "--version"}).status != 0) {
    GTEST_SKIP() << "another user cannot run " << shmifperf_path();
  }
  if (with({"test", "-w", "/dev/net/tun"}).status == 0) {
    GTEST_SKIP() << "everybody may open /dev/net/tun";
  }
  const ToolResult refused = with({shmifperf_path(), "run", "--engine=tap", "--number_ios=1"});
  EXPECT_EQ(refused.status, 77);
  EXPECT_NE(refused.err.find("/dev/net/tun"), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("engine=packet needs no TAP device"), std::string::npos);
  EXPECT_EQ(refused.err.find("shmifctl"), std::string::npos) << "that runs no jobs";
}

TEST(PerfRun, AConnectionThatFailsIsToldOnce) {
  const TempDir directory;
  const ToolResult result = run_program({shmifperf_path(), "run", "--rw=tx", "--runtime=1",
                                         "--engine=stream", "--socket=" + directory.file("none")});
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_EQ(times_in(result.out + result.err, "cannot connect"), 1U) << result.out << result.err;
}

TEST(PerfRun, WhereThereAreNoNamespacesItNamesTheEnginesThatNeedNone) {
  const std::string forbid =
      "for kind in user net mnt; do echo 0 > /proc/sys/user/max_${kind}_namespaces || exit 3; "
      "done; "
      "exec \"$@\"";
  const auto without = [&](const Words& more) {
    Words all{"unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"};
    all.insert(all.end(), more.begin(), more.end());
    return run_program(all);
  };
  if (without({"true"}).status != 0) GTEST_SKIP() << "no namespaces here to forbid them in";
  for (const char* engine : {"packet", "host"}) {
    const ToolResult refused =
        without({shmifperf_path(), "run", std::string("--engine=") + engine, "--number_ios=1"});
    EXPECT_EQ(refused.status, 77) << refused.err << refused.out;
    EXPECT_NE(refused.err.find("engine=bus, unix and udp need no namespace"), std::string::npos)
        << refused.err;
    EXPECT_NE(refused.err.find("sysctl user.max_user_namespaces"), std::string::npos);
  }
  const TempDir directory;
  const ToolResult server = without({shmifperf_path(), "server", "--directory", directory.path()});
  EXPECT_EQ(server.status, 77) << server.err;
  EXPECT_NE(server.err.find("sysctl user.max_user_namespaces"), std::string::npos) << server.err;
  EXPECT_EQ(without({shmifperf_path(), "run", "--engine=bus", "--number_ios=1"}).status, 0);
}

TEST(PerfRun, ADumpOfTheBusShowsEveryFrameAtItsTime) {
  const TempBus bus;
  const Outcome outcome =
      outcome_of({"--bus=" + bus.path(), "--number_ios=40", "--rate_iops=200", "--bs=100"});
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
  // 39 gaps of 5 ms; the first frame alone may have been late.
  EXPECT_GE(times.back() - times.front(), 0.15);
}

TEST(PerfRun, SaysBeforehandHowLongASearchTakes) {
  for (const bool has_runtime : {false, true}) {
    Words line = shmifperf_words({"run", "--engine=unix", "--search=ndr", "--search_trial=2",
                                  "--drain_time=500ms", "--search_max_iops=100"});
    if (has_runtime) line.emplace_back("--runtime=30");
    Tool tool(line);
    EXPECT_TRUE(tool.wait_for(has_runtime ? "1 search with trials of 2.50 s: 10s to 33s\n"
                                          : "1 search with trials of 2.50 s: 10s to 40s, or longer "
                                            "on a busy machine, where trials are repeated\n"));
    tool.signal(SIGINT);
    tool.finish();
  }
  // Of two, one with a runtime: the other one may take longer.
  Tool two(shmifperf_words({"run", "--engine=unix", "--search=ndr", "--search_trial=2",
                            "--drain_time=500ms", "--search_max_iops=100", "--name=a", "--name=b",
                            "--stonewall", "--runtime=30"}));
  EXPECT_TRUE(two.wait_for("2 searches with trials of 2.50 s: 20s to "));
  EXPECT_TRUE(two.wait_for(", or longer on a busy machine, where trials are repeated\n"));
  two.signal(SIGINT);
  two.finish();
}

std::string version_of_shmifperf() {
  const std::string text = shmifperf({"--version"}).out;
  const auto begin = text.find(' ') + 1;
  return text.substr(begin, text.find(' ', begin) - begin);
}

TEST(PerfRun, AResultThatItsFileDoesNotTakeFollowsAndFailsTheRun) {
  const Words words =
      run_words({"--engine=unix", "--number_ios=10", "--output-format=json", "--output=/dev/full"});
  const ToolResult ran = run_program(words);
  EXPECT_EQ(ran.status, 1);
  EXPECT_EQ(ran.err,
            "shmifperf: cannot write /dev/full: No space left on device (free some space, or name "
            "a file on another file system) (printing the result instead)\n");
  const Json result = Json::parse(ran.out);
  EXPECT_EQ(result["passed"], true);
  EXPECT_EQ(result["shmifperf_version"], version_of_shmifperf());
  Words said{"shmifperf"};
  said.insert(said.end(), words.begin() + 1, words.end());
  EXPECT_EQ(result["command"], Json(said));
}

TEST(PerfRun, HasTheStatusOfCommandsAndJobsThoughItsParentIgnoresItsChildren) {
  const auto run = [](const std::string& option) {
    Words words = run_words({"--engine=null", "--rw=txrx", "--number_ios=10", option});
    words.insert(words.begin(), {"env", "--ignore-signal=CHLD"});
    return run_program(words);
  };
  const auto passed = run("--exec_prerun=true");
  EXPECT_EQ(passed.status, 0) << passed.out << passed.err;
  const auto failed = run("--exec_prerun=sh -c 'exit 3'");
  EXPECT_EQ(failed.status, 1);
  EXPECT_NE(failed.out.find("sh ended with status 3"), std::string::npos) << failed.out;
}

TEST(PerfRun, ASearchThatIsSoonOverIsNotAnnounced) {
  const ToolResult ran =
      run_program(run_words({"--engine=unix", "--search=ndr", "--search_trial=20ms",
                             "--drain_time=20ms", "--search_max_iops=100"}));
  EXPECT_EQ(ran.err, "");
}

}  // namespace
}  // namespace shmif::test
