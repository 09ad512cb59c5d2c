// Jobs on servers: what comes back, and what a server does for nobody.

#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <regex>
#include <string>
#include <thread>

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

// Jobs that say on which server they run, and send from one server to another.

/// A port of the loopback that was free a moment ago.
std::string free_port() {
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return std::to_string(ntohs(address.sin_port));
}

/// A run of "j" on one server, which sends to "k" on the other.
Words one_way(const std::string& from, const std::string& to, const Words& more_of_j = {},
              const Words& more_of_k = {}) {
  return Words{"run",     "--engine=udp", "--bs=200",         "--name=j",       "--server=" + from,
               "--rw=tx", "--to=k",       "--rate_iops=2000", "--runtime=500ms"} +
         more_of_j +
         Words{"--name=k", "--server=" + to, "--rw=rx", "--hostname=127.0.0.1",
               "--port=" + free_port()} +
         more_of_k;
}

Words as_json(Words words) {
  words.insert(words.end(), {"--output-format=json", "--output=-"});
  return words;
}

Json result_of(const Words& words, int status = 0) {
  const ToolResult said = shmifperf(as_json(words));
  EXPECT_EQ(said.status, status) << said.err << said.out;
  return Json::parse(said.out);
}

std::uint64_t count_of(const Json& loss, const char* key) {
  return loss.at(key).get<std::uint64_t>();
}

/// Each frame that was sent has one fate.
void expect_sum(const Json& loss, std::uint64_t sent) {
  std::uint64_t sum = 0;
  for (const char* const key : {"received_frames", "lost_frames", "corrupt_frames", "late_frames",
                                "truncated_frames", "cancelled_frames", "unverified_frames"})
    sum += count_of(loss, key);
  EXPECT_EQ(sum, sent) << loss;
  EXPECT_EQ(count_of(loss, "sent_frames"), sent) << loss;
}

TEST(PerfShares, WhatOneServerSendsAndTheOtherReceivesAddsUp) {
  RunningServer one({"--allow-live"}), other;
  const Json result =
      result_of(one_way(one.address(), other.address(), {"--fault=loss=20%,seed=7"}));
  const Json& j = job_of(result, one.address() + "/j");
  const Json& k = job_of(result, other.address() + "/k");
  const std::uint64_t sent = j.at("tx").at("frames");
  EXPECT_GT(sent, 500U);
  ASSERT_EQ(result.at("links").size(), 1U);
  const std::uint64_t by_fault = result.at("links")[0].at("lost_frames");
  EXPECT_GT(by_fault, 50U);
  for (const Json& loss : {k.at("loss"), k.at("loss").at("flows").at(0)}) {
    EXPECT_EQ(loss.at("sent_frames"), sent);
    EXPECT_EQ(loss.at("lost_frames"), by_fault);
    EXPECT_EQ(loss.at("received_frames"), sent - by_fault);
    EXPECT_DOUBLE_EQ(loss.at("lost_share").get<double>(),
                     static_cast<double>(by_fault) / static_cast<double>(sent));
  }
  EXPECT_EQ(k.at("loss").at("flows")[0].at("from"), one.address() + "/j");
  EXPECT_EQ(k.at("loss").at("flows")[0].at("to"), other.address() + "/k");
  EXPECT_EQ(k.at("rx").at("seconds"), j.at("tx").at("seconds"));
  // Both read the clock of this machine.
  EXPECT_EQ(k.at("latency_clock_error_ns"), 0);
  EXPECT_EQ(k.at("latency_ns").at("count"), sent - by_fault);
  EXPECT_LT(k.at("latency_ns").at("p50").get<std::uint64_t>(), 1'000'000'000U);
  EXPECT_EQ(result.at("warnings").dump().find("may be wrong"), std::string::npos);
  for (const Json& group : result.at("groups")) {
    if (group.at("jobnames") != Json::array({other.address() + "/k"})) continue;
    EXPECT_EQ(group.at("loss").at("lost_frames"), by_fault);
  }
}

TEST(PerfShares, EachFrameHasOneFateWhateverHappensToIt) {
  RunningServer one({"--allow-live"}), other;
  const auto loss_of = [&](const Words& of_j, int status = 0) {
    const Json result = result_of(one_way(one.address(), other.address(), of_j), status);
    const Json loss = job_of(result, other.address() + "/k").at("loss");
    expect_sum(loss, count_of(job_of(result, one.address() + "/j").at("tx"), "frames"));
    return loss;
  };
  // It would listen for ten minutes, were there not all of them.
  const Json whole = loss_of({"--drain_time=300"});
  EXPECT_EQ(count_of(whole, "received_frames"), count_of(whole, "sent_frames"));
  const Json damaged = loss_of({"--fault=corrupt=5%,seed=7"}, 1);
  EXPECT_GE(count_of(damaged, "corrupt_frames"), 1U) << "more if they came together";
  EXPECT_EQ(count_of(damaged, "corrupt_copies"), 0U) << damaged;
  EXPECT_GT(count_of(damaged, "cancelled_frames"), count_of(damaged, "lost_frames")) << damaged;
  const Json late = loss_of({"--fault=delay=1200ms", "--drain_time=1"});
  EXPECT_EQ(count_of(late, "lost_frames"), 0U) << late;
  EXPECT_GT(count_of(late, "late_frames"), 0U) << late;
  EXPECT_GT(count_of(late, "received_frames"), 0U) << late;
}

TEST(PerfShares, AStopLosesNoFrameAndCancelsNone) {
  RunningServer one({"--allow-live"}), other;
  Tool run(shmifperf_words(as_json(one_way(one.address(), other.address(), {"--runtime=60"}))));
  for (RunningServer* const each : {&one, &other}) ASSERT_TRUE(each->says("the jobs begin"));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  run.signal(SIGINT);
  const ToolResult said = run.finish();
  EXPECT_EQ(said.status, 128 + SIGINT) << said.err;
  const Json result = Json::parse(said.out);
  const std::uint64_t sent = count_of(job_of(result, one.address() + "/j").at("tx"), "frames");
  const Json& loss = job_of(result, other.address() + "/k").at("loss");
  EXPECT_GT(sent, 0U);
  EXPECT_EQ(count_of(loss, "received_frames"), sent) << loss;
  expect_sum(loss, sent);
}

TEST(PerfShares, LatenciesBetweenTwoClocksComeWithTheirError) {
  const Words ahead{"unshare", "--time", "--fork", "--kill-child", "--monotonic", "100000"};
  Words probe = ahead;
  probe.emplace_back("true");
  if (run_program(probe).status != 0) GTEST_SKIP() << "no time namespaces here";
  RunningServer one({"--allow-live"}), other({}, ahead);
  constexpr int kTries = 10;  // a busy machine cannot always compare the clocks to within 1 ms
  Json result, k;
  for (int tries = 0; tries < kTries && (tries == 0 || k.at("latency_ns").is_null()); ++tries) {
    result = result_of(one_way(one.address(), other.address()));
    k = job_of(result, other.address() + "/k");
    if (!k.at("latency_ns").is_null()) continue;
    EXPECT_NE(k.at("latency_ns_reason").get<std::string>().find("compared only to within"),
              std::string::npos);
  }
  ASSERT_FALSE(k.at("latency_ns").is_null()) << k.at("latency_ns_reason");
  const std::uint64_t error = k.at("latency_clock_error_ns");
  EXPECT_GT(error, 0U);
  EXPECT_LT(k.at("latency_ns").at("p50").get<std::uint64_t>(), 1'000'000'000U)
      << "their clocks differ by 100,000 s";
  EXPECT_GT(k.at("latency_ns").at("max").get<std::uint64_t>(), 0U);
  const std::string warnings = result.at("warnings").dump();
  EXPECT_NE(warnings.find("its latencies may be wrong by"), std::string::npos) << warnings;
  EXPECT_NE(warnings.find(one.address() + " and " + other.address()), std::string::npos)
      << warnings;
  std::string text;
  for (int tries = 0; tries < kTries && text.find("may be wrong by") == std::string::npos; ++tries)
    text = shmifperf(one_way(one.address(), other.address(), {"--details"})).out;
  EXPECT_NE(text.find("may be wrong by"), std::string::npos) << text;
  Words words = one_way(one.address(), other.address(), {"--runtime=60"});
  words.emplace_back("--metrics=0");
  Tool run(shmifperf_words(words));
  ASSERT_TRUE(run.wait_for("/metrics\n")) << run.so_far().err;
  const std::string said = run.so_far().err;
  const std::size_t url = said.find("http://");
  const std::string sample = "shmifperf_latency_error_seconds{groupname=\"" + other.address() +
                             "/k\",jobname=\"" + other.address() + "/k\"} ";
  std::string told;
  ASSERT_TRUE(eventually([&] {
    told = run_program({"curl", "-s", said.substr(url, said.find('\n', url) - url)}).out;
    return told.find(sample) != std::string::npos;
  })) << told;
  const std::string value = told.substr(told.find(sample) + sample.size());
  EXPECT_TRUE(value.starts_with("Nan") || std::stod(value) > 0) << value;
  run.signal(SIGINT);
  (void)run.finish();
}

TEST(PerfShares, WhatCannotBeIsRefusedBeforeAnyServerIsAsked) {
  const auto way = [](const Words& of_j, const Words& of_k = {}) {
    return one_way("198.18.0.1", "198.18.0.2", of_j, of_k);
  };
  const Words run{"run", "--runtime=1"}, here{"--server=198.18.0.1"};
  const Words third{"--name=l", "--runtime=1"}, receives{"--rw=rx", "--hostname=02:00:00:00:00:07"};
  const Words on_bus = run + Words{"--engine=bus", "--bus=/b", "--name=j"} + here + Words{"--to=k"};
  const Words k = Words{"--name=k", "--server=198.18.0.2"} + receives;
  for (const auto& [words, says] : std::vector<std::pair<Words, std::string>>{
           {run + Words{"--name=j"} + here +
                Words{"--rw=tx", "--to=k", "--name=k", "--server=198.18.0.2", "--rw=rx"},
            "join the buses with 'shmifctl uplink'"},
           {way({"--rw=txrx"}, {"--rw=txrx", "--runtime=1"}), "over engine=udp frames go one way"},
           {way({"--runtime=0", "--number_ios=5"}), "(give runtime)"},
           {way({"--ramp_time=1"}), "does not know the ramp"},
           {way({"--numjobs=2"}, {"--numjobs=2"}), "clones cannot share its port"},
           {way({}, {"--port=0"}), "its port must be known"},
           {way({"--repeat=2"}), "leave repeat out"},
           {on_bus + third + here + Words{"--to=k"} + k, "also sends to"},
           {way({}, third + Words{"--server=198.18.0.2:18765"}), "write it in one way"},
           {way({}, third + Words{"--server=198.18.0.1", "--stonewall"}), "do not wait for each"},
           {on_bus + third + here + Words{"--to=m", "--name=m"} + here + receives + k,
            "has the address 02:00:00:00:00:07, too"},
           {run + Words{"--name=a"} + here + Words{"--name=b"}, "other jobs have a server"},
           {run + here + Words{"--client=198.18.0.2"}, "--client runs all jobs on each server"},
           {run + Words{"--server=[::1"}, "job \"job\": server: "}}) {
    const ToolResult said = shmifperf(words);
    EXPECT_EQ(said.status, 2) << said.err << said.out;
    EXPECT_TRUE(has(said.err, says)) << said.err;
  }
  RunningServer one, other;  // that does not send to others for clients
  const ToolResult said = shmifperf(one_way(one.address(), other.address()));
  EXPECT_EQ(said.status, 1) << said.out;
  EXPECT_TRUE(has(said.out, one.address() + ": refused: job \"j\": no_peer: ")) << said.out;
  EXPECT_TRUE(has(said.out, "--allow-live")) << said.out;
}

// What a server answers to each message at each time, and what it writes into its log.

/// One job without a peer.
perf::JobsMessage one_job(const perf::OptionTexts& more = {}) {
  perf::JobsMessage jobs;
  perf::OptionTexts options{{"rw", "tx"}, {"engine", "null"}};
  options.insert(options.end(), more.begin(), more.end());
  jobs.set.jobs.push_back({"job", "here", options});
  return jobs;
}
perf::JobsMessage minute_of_jobs(const perf::OptionTexts& more = {}) {
  perf::OptionTexts options{{"runtime", "60"}, {"rate_iops", "100"}};
  options.insert(options.end(), more.begin(), more.end());
  return one_job(options);
}

/// One that has said hello, and was greeted.
HandMadeClient greeted(const RunningServer& server, const std::string& host = "rig") {
  HandMadeClient client(server.port());
  perf::HelloMessage message = hello();
  message.host = host;
  EXPECT_TRUE(client.send(message));
  EXPECT_EQ(client.receive().at("type"), "hello");
  return client;
}

TEST(PerfServerMessages, WhatComesBeforeItsTimeIsRefusedWithItsName) {
  RunningServer server;
  const auto answer = [&](HandMadeClient client, const perf::Message& message) {
    EXPECT_TRUE(client.send(message));
    const Json refused = client.receive();
    EXPECT_EQ(refused.at("type"), "refused");
    EXPECT_EQ(refused.at("exit_code"), 1);
    return refused.at("why").at(0).get<std::string>();
  };
  const auto stranger = [&] { return HandMadeClient(server.port()); };
  EXPECT_EQ(answer(stranger(), perf::PingMessage{1}), "the first message must be \"hello\"");
  EXPECT_EQ(answer(stranger(), one_job()), "\"jobs\" is not allowed at this point");
  EXPECT_EQ(answer(stranger(), perf::StopMessage{true, 2}),
            "\"stop\" is not allowed at this point");
  EXPECT_EQ(answer(greeted(server), hello()), "\"hello\" is not allowed at this point");
  EXPECT_EQ(answer(greeted(server), perf::GoMessage{1}), "\"go\" is not allowed at this point");
  EXPECT_EQ(answer(greeted(server), perf::FinishedMessage{"{}"}),
            "\"finished\" is not allowed at this point");
}

TEST(PerfServerMessages, WhoComesSecondIsToldWhoHasTheServerAndSinceToday) {
  RunningServer server;
  HandMadeClient first = greeted(server, "lab\x1b[2J");
  ASSERT_TRUE(first.send(minute_of_jobs()));
  ASSERT_TRUE(first.receives("prepared"));
  EXPECT_TRUE(server.says(" (lab?[2J) has the server for 1 job\n"));
  const std::time_t before = std::time(nullptr);
  HandMadeClient second = greeted(server);
  const Json busy = second.receive();
  ASSERT_EQ(busy.at("type"), "busy");
  EXPECT_TRUE(std::regex_match(busy.at("by").get<std::string>(),
                               std::regex(R"(127\.0\.0\.1:[0-9]+ \(lab\?\[2J\))")))
      << busy;
  std::tm since{};
  ASSERT_NE(::strptime(busy.at("since").get<std::string>().c_str(), "%Y-%m-%dT%H:%M:%SZ", &since),
            nullptr)
      << busy;
  const auto seconds = before - ::timegm(&since);
  EXPECT_TRUE(seconds >= 0 && seconds < 600) << busy;
}

// Clients that read slowly, or not at all, and what that costs the others.

/// A client with hardly any room for what it does not read, so that the rest waits in the server.
UniqueFd narrow_socket() {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int room = 2048;
  const int segment = 512;
  EXPECT_EQ(setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room), 0);
  EXPECT_EQ(setsockopt(fd.get(), IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment), 0);
  return fd;
}

/// Has the server run some jobs, and is told that they are prepared.
HandMadeClient owner_of(const RunningServer& server, const perf::OptionTexts& options) {
  HandMadeClient client(server.port(), narrow_socket());
  EXPECT_TRUE(client.send(hello()));
  perf::JobsMessage jobs;
  jobs.set.jobs.push_back({"job", "here", options});
  EXPECT_TRUE(client.send(jobs));
  EXPECT_TRUE(client.receives("prepared"));
  return client;
}

/// With a result of some hundred kilobytes, which it has not read.
HandMadeClient owner_of_a_result(RunningServer& server) {
  HandMadeClient client = owner_of(
      server, {{"rw", "tx"}, {"rate_iops", "1000"}, {"number_ios", "50"}, {"numjobs", "20"}});
  EXPECT_TRUE(client.send(perf::GoMessage{1}));
  EXPECT_TRUE(server.says("has its result"));
  return client;
}

TEST(PerfServerReaders, WhoDoesNotReadItsAnswersIsDroppedBeforeTheyFillTheMemory) {
  RunningServer server;
  HandMadeClient client = owner_of(server, {{"rw", "tx"}, {"runtime", "60"}});
  std::string pings;
  for (int i = 0; i < 1000; ++i) pings += perf::with_length(perf::encode(perf::PingMessage{1}));
  // Far more answers than the server keeps, and the kernels of both sides.
  for (int i = 0; i < 400 && client.send_bytes(pings); ++i) {
  }
  EXPECT_TRUE(server.says("it does not read its messages"));
  EXPECT_TRUE(eventually([&] { return !server.has_jobs(); }));
}

TEST(PerfServerReaders, AResultOutlivesACrowdOfStrangers) {
  RunningServer server;
  HandMadeClient client = owner_of_a_result(server);
  std::vector<std::unique_ptr<HandMadeClient>> crowd;
  for (int i = 0; i < 60; ++i) crowd.push_back(std::make_unique<HandMadeClient>(server.port()));
  EXPECT_TRUE(crowd.front()->is_closed_on());
  EXPECT_TRUE(client.receives("finished"));
}

}  // namespace
}  // namespace shmif::test
