// Jobs on servers: what comes back, and what a server does for nobody.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iterator>

#include "perf/report/report.hpp"
#include "perf/verify/verify_state.hpp"
#include "tests/support/paths.hpp"
#include "tests/tools/shmifperf/perf_server_rig.hpp"

namespace shmif::test {
namespace {

using namespace std::chrono_literals;

/// Runs one set on the server, which must refuse it by name.
void expect_refused(RunningServer& server, const Words& options, const Words& named) {
  Words words = short_job();
  words.insert(words.end(), options.begin(), options.end());
  const ToolResult result = run_program(client_words(server.address(), words));
  EXPECT_EQ(result.status, 1) << result.err;
  for (const std::string& name : named) EXPECT_TRUE(has(result.out, name)) << result.out;
  EXPECT_TRUE(has(result.out, server.address() + ": refused: ")) << result.out;
}

ToolResult run_at(RunningServer& server, const Words& options) {
  Words words = short_job();
  words.insert(words.end(), options.begin(), options.end());
  return run_program(client_words(server.address(), words));
}

/// The same, in that directory: a client writes the states of its servers to the current one.
Words within(const std::string& directory, const Words& words) {
  Words all{"env", "-C", directory};
  all.insert(all.end(), words.begin(), words.end());
  return all;
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

TEST(PerfServer, WhatHeldTheJobsBackIsFoundWhereTheyRun) {
  RunningServer server;
  for (const bool why : {true, false}) {
    const ToolResult result = run_program(
        client_words(server.address(), {"--name=job", "--rw=tx", "--rate_iops=100", "--runtime=1",
                                        why ? "--why=1" : "--why=0", "--output-format=json"}));
    ASSERT_EQ(result.status, 0) << result.err;
    const Json whole = Json::parse(result.out);
    const Json& host = whole.at("hosts").at(0);
    if (why) {
      EXPECT_TRUE(whole.at("causes").is_array());
      EXPECT_GE(host.at("why").at("looks"), 1);
      EXPECT_EQ(host.at("causes_reason"), nullptr);
    } else {
      EXPECT_EQ(whole.at("causes"), nullptr);
      EXPECT_EQ(host.at("why"), nullptr);
      EXPECT_EQ(host.at("causes_reason"), "it was turned off (why=0)");
    }
  }
}

TEST(PerfServer, ThePeopleReadEachServersResultUnderItsName) {
  RunningServer first;
  RunningServer second;
  Words words = client_words(first.address() + ',' + second.address(), short_job());
  words.emplace_back("--details");
  const ToolResult result = run_program(words);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(has(result.out, "2 servers, passed")) << result.out;
  EXPECT_TRUE(has(result.out, "2 servers began within ")) << result.out;
  for (const RunningServer* server : {&first, &second}) {
    const std::size_t at = result.out.find("==== " + server->address() + " ====");
    ASSERT_NE(at, std::string::npos) << result.out;
    EXPECT_NE(result.out.find("job -> job.sink", at), std::string::npos) << result.out;
  }
}

TEST(PerfServer, ASummaryHasTheJobsOfAllServers) {
  RunningServer first;
  RunningServer second;
  const ToolResult result =
      run_program(client_words(first.address() + ',' + second.address(), short_job()));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(has(result.out, ": passed on 2 servers, no loss in 600 frames (exit code 0), took "))
      << result.out;
  for (const RunningServer* server : {&first, &second}) {
    EXPECT_TRUE(has_row_of(result.out, *server)) << result.out;
  }
}

TEST(PerfServer, TerseHasALineForEachJobOfEachServer) {
  RunningServer server;
  const ToolResult result = run_at(server, {"--output-format=terse"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(has(result.out, server.address() + "/job;")) << result.out;
  EXPECT_TRUE(has(result.out, server.address() + "/job.sink;")) << result.out;
}

TEST(PerfServer, WhoHasTheResultFindsTheServerFree) {
  RunningServer server;
  for (int i = 0; i < 5; ++i) {
    const ToolResult result = run_at(server, {"--number_ios=10", "--output-format=terse"});
    EXPECT_EQ(result.status, 0) << result.err;
  }
}

TEST(PerfServer, AJobThatFailsThereFailsTheRunHere) {
  RunningServer good;
  const ToolResult result = run_at(good, {"--fault=corrupt=100%"});
  EXPECT_EQ(result.status, 1) << result.out;
  EXPECT_TRUE(has(result.out, "FAILED    " + good.address() + ": ")) << result.out;
}

TEST(PerfServer, ALogThatIsNotWholeThereIsExitCodeOneHere) {
  TempDir directory;
  std::filesystem::create_symlink("/dev/full", directory.file("x_bw.job.log"));
  // Without --allow-exec, the link would not be followed.
  RunningServer server({"--allow-exec", "--directory=" + directory.path()});
  const ToolResult result = run_at(server, {"--write_bw_log=x"});
  EXPECT_EQ(result.status, 1) << result.err << result.out;
  EXPECT_TRUE(has(result.out, "x_bw.job.log")) << result.out;
}

TEST(PerfServer, WhatAServersMachineCannotDoIsExitCodeSeventySevenHere) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: becomes another user";
  const Words as_other{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"};
  const auto with = [&](Words more) {
    more.insert(more.begin(), as_other.begin(), as_other.end());
    return run_program(more).status;
  };
  if (with({shmifperf_path(), "--version"}) != 0) {
    GTEST_SKIP() << "another user cannot run " << shmifperf_path();
  }
  if (with({"test", "-w", "/dev/net/tun"}) == 0) {
    GTEST_SKIP() << "everybody may open /dev/net/tun";
  }
  RunningServer server({}, as_other);
  const ToolResult result = run_at(server, {"--engine=tap"});
  EXPECT_EQ(result.status, 77) << result.err;
  EXPECT_TRUE(has(result.out, "/dev/net/tun")) << result.out;
}

TEST(PerfServer, CommandsAreRefusedByNameUnlessTheServerAllowsThem) {
  TempDir directory;
  const std::string mark = directory.file("was-here");
  const std::string command = "--exec_prerun=touch " + mark;
  RunningServer closed;
  expect_refused(closed, {command}, {"exec_prerun", "--allow-exec", "job \"job\""});
  expect_refused(closed, {"--exec_postrun=true"}, {"exec_postrun", "--allow-exec"});
  expect_refused(closed, {"--trigger=true", "--trigger-timeout=1"}, {"trigger", "--allow-exec"});
  expect_refused(closed, {"--engine=host", "--exec=true"}, {"exec: ", "--allow-exec"});
  expect_refused(closed, {"--uid=0"}, {"uid: ", "--allow-exec"});
  EXPECT_FALSE(std::filesystem::exists(mark));

  RunningServer open({"--allow-exec", "--directory=" + directory.path()});
  const ToolResult result = run_at(open, {command});
  EXPECT_EQ(result.status, 0) << result.err << result.out;
  EXPECT_TRUE(std::filesystem::exists(mark));
  expect_refused(open, {"--allow_live=1"}, {"allow_live", "--allow-live"});
}

TEST(PerfServer, FilesAreThoseOfOneDirectoryOrNone) {
  RunningServer closed;
  expect_refused(closed, {"--write_pcap=x.pcap"}, {"write_pcap", "--directory"});
  expect_refused(closed, {"--bus=/dev/shm/bus0"}, {"bus: ", "--directory"});
  expect_refused(closed, {"--verify_state_save=1"}, {"verify_state_save", "--directory"});

  TempDir directory("/tmp");  // a run sees the links there; it has a /dev/shm of its own
  TempDir elsewhere("/tmp");
  std::filesystem::create_symlink(elsewhere.path(), directory.file("out"));
  RunningServer open({"--directory=" + directory.path()});
  expect_refused(open, {"--write_pcap=../x.pcap"}, {"write_pcap", "not below"});
  expect_refused(open, {"--write_pcap=/etc/x.pcap"}, {"write_pcap", "not below"});
  expect_refused(open, {"--write_pcap=out/x.pcap"}, {"write_pcap", "not below"});
  expect_refused(open, {"--aux-path=/tmp"}, {"aux-path", "not below"});
  const ToolResult result = run_at(open, {"--write_pcap=x.pcap"});
  EXPECT_EQ(result.status, 0) << result.err << result.out;
  EXPECT_TRUE(std::filesystem::exists(directory.file("x.pcap")));
  std::filesystem::create_symlink(elsewhere.file("new"), directory.file("gone"));
  const ToolResult through = run_at(open, {"--write_pcap=gone"});
  EXPECT_EQ(through.status, 1);
  EXPECT_TRUE(has(through.out, "symbolic link")) << through.err << through.out;
  EXPECT_TRUE(std::filesystem::is_empty(elsewhere.path()));
}

TEST(PerfServer, ATriggerSavesStatesInTheDirectoryAndNowhereElse) {
  RunningServer closed;
  expect_refused(closed, {"--trigger-timeout=1"}, {"trigger-timeout", "--directory"});
  expect_refused(closed, {"--trigger-match=udp"}, {"trigger-match", "--directory"});
  TempDir directory;
  RunningServer open({"--directory=" + directory.path()});
  Words words = long_job();
  words.emplace_back("--trigger-timeout=100ms");
  const TempDir client;
  const ToolResult result = run_program(within(client.path(), client_words(open.address(), words)));
  EXPECT_EQ(result.status, 0) << result.err << result.out;
  EXPECT_TRUE(std::filesystem::exists(directory.file("job-verify.state")));
}

std::string text_in_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
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
    Words words =
        within(client.path(), client_words(one.address() + ',' + two.address(), long_job()));
    words.insert(words.end(), {"--trigger-file=now", "--json-stream", "--status-interval=100ms"});
    Tool tool(words);
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
        EXPECT_EQ(text_in_file(client.file(server->address() + '-' + state)),
                  text_in_file(directory->file(state)));
        EXPECT_FALSE(text_in_file(directory->file(state)).empty());
      }
    }
  }
}

TEST(PerfServer, TheStatesThatTheClientHasGoOnOnAServerWithoutThem) {
  const TempDir first, second, client;
  RunningServer one({"--directory=" + first.path()});
  RunningServer two({"--directory=" + second.path()});
  const auto ran = [&](const RunningServer& server, const Words& more) {
    Words words{"--bs=100", "--number_ios=100", "--verify_state_save=1"};
    words.insert(words.end(), more.begin(), more.end());
    words.insert(words.end(), {"--name=a", "--rw=tx", "--to=b", "--name=b", "--rw=rx"});
    return run_program(within(client.path(), client_words(server.address(), words)));
  };
  ASSERT_EQ(ran(one, {}).status, 0);
  const ToolResult none = ran(two, {"--verify_state_load=client"});
  EXPECT_EQ(none.status, 1) << none.out;
  EXPECT_TRUE(has(none.out, two.address() + "-a-verify.state")) << none.out;
  for (const char* const job : {"-a-verify.state", "-b-verify.state"}) {
    std::filesystem::rename(client.file(one.address() + job), client.file(two.address() + job));
  }
  const ToolResult again = ran(two, {"--verify_state_load=client"});
  EXPECT_EQ(again.status, 0) << again.err << again.out;
  const auto saved = [&](const std::string& job) {
    const auto bytes = perf::read_verify_state(second.file(job + "-verify.state"), 1U << 20U);
    return perf::decode_verify_state(bytes.value(), job).value();
  };
  EXPECT_EQ(saved("a").flows.at(0).next_sequence, 200U);
  EXPECT_TRUE(saved("b").flows.at(0).received.gaps(0, 200, 1).empty());
}

TEST(PerfServer, TheMachinesNetworksAndItsTimeAreNotForStrangers) {
  RunningServer server({"--max-jobs=3", "--max-runtime=60", "--max-memory=512m"});
  expect_refused(server, {"--allow_live=1"}, {"allow_live", "--allow-live"});
  expect_refused(server, {"--engine=packet", "--netdev=eth0,eth1"}, {"netdev", "--allow-live"});
  expect_refused(server, {"--numjobs=4"}, {"4 jobs", "--max-jobs"});
  expect_refused(server, {"--engine=bus,unix,udp,null"}, {"4 jobs", "--max-jobs"});
  expect_refused(server, {"--runtime=2m"}, {"runtime", "--max-runtime"});
  expect_refused(server, {"--runtime=50", "--ramp_time=20"}, {"runtime", "--max-runtime"});
  // Two jobs over a bus of half a gigabyte. The default limit of one gigabyte would admit this.
  expect_refused(server, {"--bus_size=512m"}, {"memory", "--max-memory"});
  expect_refused(server, {"--nice=-20"}, {"nice", "--allow-exec"});
  // All that is wrong is said at once.
  expect_refused(server, {"--allow_live=1", "--runtime=2m"}, {"allow_live", "runtime"});
  EXPECT_EQ(run_at(server, {"--numjobs=3"}).status, 0);
}

TEST(PerfServer, WhatIsAllowedRuns) {
  RunningServer server({"--allow-live", "--allow-exec"});
  for (const char* const option : {"--allow_live=1", "--nice=-1"}) {
    const ToolResult result = run_at(server, {option});
    EXPECT_FALSE(has(result.err, "refused")) << option << result.err;
  }
  EXPECT_EQ(run_at(server, {"--allow_live=1"}).status, 0);
  RunningServer live({"--allow-live"});
  expect_refused(live, {"--exec_prerun=true"}, {"exec_prerun", "--allow-exec"});
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
  const auto expect = [](const Words& words, const std::string& what) {
    const ToolResult result = shmifperf(words);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_TRUE(has(result.err, what)) << result.err;
  };
  expect({"run", "--client=a:b", "--runtime=1"}, "\"a:b\" is not an address of a server");
  expect({"run", "--client=a,a", "--runtime=1"}, "\"a\" is given twice");
  expect({"run", "--client=a,", "--runtime=1"}, "\"\" is not an address of a server");
  expect({"server", "--listen=127.0.0.1:70000"}, "is not an address of a server");
  expect({"server", "--directory=/nowhere/at/all"}, "is not a directory (make it first)");
  expect({"server", "--directory=/", "--max-jobs=0"},
         "--directory: / has all files (name a directory in it)");
  expect({"server", "--max-runtime=0", "--max-jobs=0"}, "--max-runtime: it must be more than 0");
  std::string many = "--client=a";
  for (int i = 1; i < 256; ++i) many += ",a" + std::to_string(i);
  EXPECT_EQ(shmifperf({"run", many, "--runtime=1", "--parse-only"}).status, 0);
  expect({"run", many + ",b", "--runtime=1", "--parse-only"}, "there are more than 256 servers");
  RunningServer server;
  const ToolResult second = shmifperf({"server", "--listen=" + server.address()});
  EXPECT_EQ(second.status, 1);
  EXPECT_TRUE(has(second.err, "another program uses that port; choose another")) << second.err;
}

TEST(PerfServer, ListensOnTheLoopbackAloneUnlessTold) {
  RunningServer server;
  EXPECT_EQ(server.address().rfind("127.0.0.1:", 0), 0U);
  EXPECT_TRUE(server.says("\n"));
  EXPECT_FALSE(has(server.tool().so_far().out, "may run jobs here"));
  Tool open(shmifperf_words({"server", "--listen=0.0.0.0:0"}));
  EXPECT_TRUE(open.wait_for("may run jobs here: use this only in a network that you trust"));
  EXPECT_TRUE(has(shmifperf({"server", "--help"}).out, "127.0.0.1:18765"));
}

TEST(PerfServer, EndsAfterOneRunWithOnceAndAtASignal) {
  RunningServer once({"--once"});
  EXPECT_EQ(run_at(once, {}).status, 0);
  EXPECT_EQ(once.tool().finish().status, 0);
  RunningServer server;
  server.tool().signal(SIGTERM);
  const ToolResult result = server.tool().finish();
  EXPECT_EQ(result.status, 0);
  EXPECT_TRUE(has(result.out, "ended by signal 15")) << result.out;
}

}  // namespace
}  // namespace shmif::test
