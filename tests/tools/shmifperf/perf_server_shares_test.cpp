// Jobs that say on which server they run, and send from one server to another.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "tests/tools/shmifperf/perf_server_rig.hpp"

namespace shmif::test {
namespace {

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

}  // namespace
}  // namespace shmif::test
