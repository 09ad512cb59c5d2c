// Jobs on servers: what comes back, and what a server does for nobody.

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "perf/report/report.hpp"
#include "perf/verify/verify_state.hpp"
#include "tests/support/paths.hpp"
#include "tests/tools/shmifperf/perf_server_rig.hpp"

namespace shmif::test {
namespace {

using namespace std::chrono_literals;

ToolResult run_at(RunningServer& server, const Words& options) {
  return run_program(client_words(server.address(), short_job() + options));
}

/// The same, in that directory: a client writes the states of its servers to the current one.
Words within(const std::string& directory, const Words& words) {
  return Words{"env", "-C", directory} + words;
}

TEST(PerfServer, TwoRunTheSameJobFileAtOnceAndTheClientReadsItsFilesAndVariables) {
  RunningServer first;
  RunningServer second;
  TempDir directory;
  std::ofstream(directory.file("common.job")) << "[global]\nbs=${FRAME_BYTES}\nrate_iops=1000\n";
  std::ofstream(directory.file("x.job"))
      << "include common.job\n[calls]\nrw=tx\nnumber_ios=300\n"
         "[across]\nrw=tx\nengine=udp\nnumber_ios=200\n[there-and-back]\nrw=pingpong\n"
         "number_ios=50\n";
  ::setenv("FRAME_BYTES", "128", 1);
  const ToolResult result =
      run_program(client_words(first.address() + ',' + second.address(),
                               {directory.file("x.job"), "--output-format=json+"}));
  ::unsetenv("FRAME_BYTES");
  ASSERT_EQ(result.status, 0) << result.err << result.out;
  // One result in the schema of every run, which report and compare read.
  const auto report = perf::Report::parse(result.out, "of two servers");
  ASSERT_TRUE(report) << report.error().message;
  const Json& json = report->json();
  EXPECT_TRUE(json.at("passed"));
  ASSERT_EQ(json.at("hosts").size(), 2U);
  for (const RunningServer* server : {&first, &second}) {
    for (const auto& [name, frames] : std::vector<std::pair<std::string, int>>{
             {"calls", 300}, {"across", 200}, {"there-and-back", 50}}) {
      const std::string full = server->address() + '/' + name;
      const auto job = std::ranges::find_if(
          json.at("jobs"), [&](const Json& each) { return each.at("jobname") == full; });
      ASSERT_NE(job, json.at("jobs").end()) << full;
      EXPECT_EQ(job->at("hostname"), server->address());
      EXPECT_EQ(job->at("tx").at("frames"), frames) << full;
      EXPECT_EQ(job->at("tx").at("bytes"), frames * 128) << full;
    }
    const auto sink = std::ranges::find_if(json.at("jobs"), [&](const Json& each) {
      return each.at("jobname") == server->address() + "/calls.sink";
    });
    ASSERT_NE(sink, json.at("jobs").end());
    EXPECT_EQ(sink->at("peer_of"), server->address() + "/calls");
    EXPECT_EQ(sink->at("loss").at("flows").at(0).at("from"), server->address() + "/calls");
    EXPECT_EQ(sink->at("loss").at("received_frames"), 300);
  }
  for (const Json& host : json.at("hosts")) {
    EXPECT_TRUE(host.at("start_offset_ns").is_number_unsigned());
    EXPECT_TRUE(host.at("clock_error_ns").is_number_unsigned());
    EXPECT_TRUE(host.at("machine").is_object());
  }
}

TEST(PerfServer, ASummaryHasTheJobsOfAllServersAndDetailsHaveEachUnderItsName) {
  RunningServer first, second;
  const Words words = client_words(first.address() + ',' + second.address(), short_job());
  const ToolResult summary = run_program(words);
  EXPECT_EQ(summary.status, 0) << summary.err;
  EXPECT_TRUE(has(summary.out, ": passed on 2 servers, no loss in 600 frames (exit code 0), took "))
      << summary.out;
  const std::string details = run_program(words + Words{"--details"}).out;
  EXPECT_TRUE(has(details, "2 servers began within ")) << details;
  const std::string terse = run_program(words + Words{"--output-format=terse"}).out;
  for (const RunningServer* server : {&first, &second}) {
    EXPECT_TRUE(has_row_of(summary.out, *server)) << summary.out;
    const std::size_t at = details.find("==== " + server->address() + " ====");
    ASSERT_NE(at, std::string::npos) << details;
    EXPECT_NE(details.find("job -> job.sink", at), std::string::npos) << details;
    EXPECT_TRUE(has(terse, server->address() + "/job;")) << terse;
    EXPECT_TRUE(has(terse, server->address() + "/job.sink;")) << terse;
  }
}

/// A failed job, a log that is not whole, and what that machine cannot do.
TEST(PerfServer, TheExitCodeOfARunThereIsThatOfTheRunHere) {
  const TempDir directory;
  std::filesystem::create_symlink("/dev/full", directory.file("x_bw.job.log"));
  // Without --allow-exec, the link would not be followed.
  RunningServer server({"--allow-exec", "--directory=" + directory.path()});
  const ToolResult failed = run_at(server, {"--fault=corrupt=100%"});
  EXPECT_EQ(failed.status, 1) << failed.out;
  EXPECT_TRUE(has(failed.out, "FAILED    " + server.address() + ": ")) << failed.out;
  const ToolResult log = run_at(server, {"--write_bw_log=x"});
  EXPECT_EQ(log.status, 1) << log.err;
  EXPECT_TRUE(has(log.out, "x_bw.job.log")) << log.out;
  if (const std::string why = why_not_as_nobody(); !why.empty()) GTEST_SKIP() << why;
  if (run_program(kAsNobody + Words{"test", "-w", "/dev/net/tun"}).status == 0) {
    GTEST_SKIP() << "everybody may open /dev/net/tun";
  }
  RunningServer ordinary({}, kAsNobody);
  const ToolResult tap = run_at(ordinary, {"--engine=tap"});
  EXPECT_EQ(tap.status, 77) << tap.err;
  EXPECT_TRUE(has(tap.out, "/dev/net/tun")) << tap.out;
}

TEST(PerfServer, WhatAStrangerMayNotDoIsRefusedByNameWithTheOptionThatWouldAllowIt) {
  const TempDir directory("/tmp");  // a run sees the links there; it has a /dev/shm of its own
  const TempDir elsewhere("/tmp");
  std::filesystem::create_symlink(elsewhere.path(), directory.file("out"));
  std::filesystem::create_symlink(elsewhere.file("new"), directory.file("gone"));
  RunningServer closed({"--max-jobs=3", "--max-runtime=60", "--max-memory=512m"});
  RunningServer open({"--directory=" + directory.path()});
  RunningServer trusting({"--allow-exec", "--directory=" + directory.path()});
  RunningServer live({"--allow-live"});
  const std::string mark = directory.file("was-here");
  const std::string command = "--exec_prerun=touch " + mark;
  struct Case {
    RunningServer& server;
    Words options, named;
  };
  for (const Case& each : std::vector<Case>{
           {closed, {command}, {"exec_prerun", "--allow-exec", "job \"job\""}},
           {live, {"--exec_postrun=true"}, {"exec_postrun", "--allow-exec"}},
           {closed, {"--trigger=true", "--trigger-timeout=1"}, {"trigger", "--allow-exec"}},
           {closed, {"--engine=host", "--exec=true"}, {"exec: ", "--allow-exec"}},
           {closed, {"--uid=0"}, {"uid: ", "--allow-exec"}},
           {closed, {"--nice=-20"}, {"nice", "--allow-exec"}},
           {trusting, {"--allow_live=1"}, {"allow_live", "--allow-live"}},
           {closed, {"--engine=packet", "--netdev=eth0,eth1"}, {"netdev", "--allow-live"}},
           {closed, {"--numjobs=4"}, {"4 jobs", "--max-jobs"}},
           {closed, {"--engine=bus,unix,udp,null"}, {"4 jobs", "--max-jobs"}},
           {closed, {"--runtime=2m"}, {"runtime", "--max-runtime"}},
           {closed, {"--runtime=50", "--ramp_time=20"}, {"runtime", "--max-runtime"}},
           // Two jobs over a bus of half a gigabyte, which the default limit would admit.
           {closed, {"--bus_size=512m"}, {"memory", "--max-memory"}},
           {closed, {"--allow_live=1", "--runtime=2m"}, {"allow_live", "runtime"}},
           {closed, {"--write_pcap=x.pcap"}, {"write_pcap", "--directory"}},
           {closed, {"--bus=/dev/shm/bus0"}, {"bus: ", "--directory"}},
           {closed, {"--verify_state_save=1"}, {"verify_state_save", "--directory"}},
           {closed, {"--trigger-timeout=1"}, {"trigger-timeout", "--directory"}},
           {closed, {"--trigger-match=udp"}, {"trigger-match", "--directory"}},
           {open, {"--write_pcap=../x.pcap"}, {"write_pcap", "not below"}},
           {open, {"--write_pcap=/etc/x.pcap"}, {"write_pcap", "not below"}},
           {open, {"--write_pcap=out/x.pcap"}, {"write_pcap", "not below"}},
           {open, {"--aux-path=/tmp"}, {"aux-path", "not below"}}}) {
    SCOPED_TRACE(each.options[0]);
    const ToolResult result = run_at(each.server, each.options);
    EXPECT_EQ(result.status, 1) << result.err;
    EXPECT_TRUE(has(result.out, each.server.address() + ": refused: ")) << result.out;
    for (const std::string& name : each.named) EXPECT_TRUE(has(result.out, name)) << result.out;
  }
  EXPECT_FALSE(std::filesystem::exists(mark));
  const ToolResult through = run_at(open, {"--write_pcap=gone"});
  EXPECT_EQ(through.status, 1);
  EXPECT_TRUE(has(through.out, "symbolic link")) << through.err << through.out;
  EXPECT_TRUE(std::filesystem::is_empty(elsewhere.path()));
  // What is allowed runs.
  EXPECT_EQ(run_at(closed, {"--numjobs=3"}).status, 0);
  EXPECT_EQ(run_at(live, {"--allow_live=1"}).status, 0);
  EXPECT_EQ(run_at(open, {"--write_pcap=x.pcap"}).status, 0);
  EXPECT_TRUE(std::filesystem::exists(directory.file("x.pcap")));
  EXPECT_EQ(run_at(trusting, {command}).status, 0);
  EXPECT_TRUE(std::filesystem::exists(mark));
}

/// Whether the newest whole line of a stream shows that each job of both servers has frames.
bool all_move(Tool& client) {
  (void)client.wait_for("nothing of the kind", 20ms);  // reads what there is
  const std::string& out = client.so_far().out;
  const std::size_t end = out.rfind('\n');
  if (end == std::string::npos) return false;
  const std::size_t before = end == 0 ? std::string::npos : out.rfind('\n', end - 1);
  const std::size_t begin = before == std::string::npos ? 0 : before + 1;
  const auto line = nlohmann::json::parse(out.substr(begin, end - begin), nullptr, false);
  if (!line.is_object() || line["jobs"].size() != 4) return false;
  return std::ranges::all_of(line["jobs"], [](const nlohmann::json& job) {
    return job["tx_frames"] != 0 || job["rx_frames"] != 0;
  });
}

TEST(PerfServer, ATriggerOfOneOrOfTheClientEndsAllAndTheirStatesComeBackToTheClient) {
  for (const bool at_client : {false, true}) {
    const TempDir first, second, client;
    RunningServer one({"--directory=" + first.path()});
    RunningServer two({"--directory=" + second.path()});
    Tool tool(within(client.path(), client_words(one.address() + ',' + two.address(), long_job())) +
              Words{"--trigger-file=now", "--json-stream", "--status-interval=100ms"});
    ASSERT_TRUE(eventually([&] { return all_move(tool); })) << tool.so_far().err;
    const std::string file = (at_client ? client : second).file("now");
    std::ofstream{file};
    const ToolResult result = tool.finish();
    EXPECT_EQ(result.status, 0) << result.err << result.out;
    EXPECT_EQ(has(result.err, "the trigger fired: file "), !at_client) << result.err;
    EXPECT_TRUE(has(result.err, "it fired on another server, or on the client")) << result.err;
    EXPECT_FALSE(std::filesystem::exists(file));
    for (const auto& [server, directory] : {std::pair(&one, &first), std::pair(&two, &second)}) {
      for (const char* const job : {"job", "job.sink"}) {
        const std::string state = std::string(job) + "-verify.state";
        EXPECT_EQ(text_of_file(client.file(server->address() + '-' + state)),
                  text_of_file(directory->file(state)));
        EXPECT_FALSE(text_of_file(directory->file(state)).empty());
      }
    }
  }
}

TEST(PerfServer, WhatTakesTooLongIsStoppedByItsClockAndReported) {
  RunningServer server({"--max-runtime=1"});
  const ToolResult result = run_program(
      client_words(server.address(), {"--rw=tx", "--rate_iops=50", "--number_ios=100000"}));
  EXPECT_EQ(result.status, 1) << result.out;
  EXPECT_TRUE(has(result.out, "--max-runtime")) << result.out;
  EXPECT_TRUE(has_row_of(result.out, server)) << result.out;
  EXPECT_TRUE(server.says(": its run is stopped: the run was stopped, because it took longer"));
}

TEST(PerfServer, AServerThatCannotBeReachedIsNamedAndNobodyRuns) {
  RunningServer server;
  std::uint16_t closed = 0;
  {
    RunningServer gone;
    closed = gone.port();
  }
  const std::string nobody = "127.0.0.1:" + std::to_string(closed);
  const ToolResult result = run_program(client_words(server.address() + ',' + nobody, short_job()));
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(times_in(result.err + result.out, nobody + ": cannot reach it"), 1U) << result.err;
  EXPECT_TRUE(has(result.out, "is 'shmifperf server' running there")) << result.out;
  EXPECT_TRUE(has(result.out, server.address() + ": ran nothing")) << result.out;
  EXPECT_EQ(run_at(server, {}).status, 0) << "the other is free again";
}

TEST(PerfServer, TheCommandLineSaysWhatIsWrongWithIt) {
  std::string many = "--client=a";
  for (int i = 1; i < 256; ++i) many += ",a" + std::to_string(i);
  EXPECT_EQ(shmifperf({"run", many, "--runtime=1", "--parse-only"}).status, 0);
  for (const auto& [words, says] : std::vector<std::pair<Words, std::string>>{
           {{"run", "--client=a:b", "--runtime=1"}, "\"a:b\" is not an address of a server"},
           {{"run", "--client=a,a", "--runtime=1"}, "\"a\" is given twice"},
           {{"run", many + ",b", "--runtime=1", "--parse-only"}, "more than 256 servers"},
           {{"server", "--listen=127.0.0.1:70000"}, "is not an address of a server"},
           {{"server", "--directory=/nowhere/at/all"}, "(make it first)"},
           {{"server", "--directory=/"}, "has all files (name a directory in it)"},
           {{"server", "--max-runtime=0"}, "--max-runtime: it must be more than 0"}}) {
    expect_usage_error(words, {says});
  }
}

TEST(PerfServer, ListensOnTheLoopbackAloneUnlessToldAndEndsWithOnceOrAtASignal) {
  RunningServer once({"--once"});
  EXPECT_TRUE(once.address().starts_with("127.0.0.1:"));
  EXPECT_FALSE(has(once.tool().so_far().out, "may run jobs here"));
  const ToolResult second = shmifperf({"server", "--listen=" + once.address()});
  EXPECT_EQ(second.status, 1);
  EXPECT_TRUE(has(second.err, "another program uses that port")) << second.err;
  EXPECT_EQ(run_at(once, {}).status, 0);
  EXPECT_EQ(once.tool().finish().status, 0);
  Tool open(shmifperf_words({"server", "--listen=0.0.0.0:0"}));
  EXPECT_TRUE(open.wait_for("may run jobs here: use this only in a network that you trust"));
  open.signal(SIGTERM);
  const ToolResult ended = open.finish();
  EXPECT_EQ(ended.status, 0);
  EXPECT_TRUE(has(ended.out, "ended by signal 15")) << ended.out;
}

}  // namespace
}  // namespace shmif::test
