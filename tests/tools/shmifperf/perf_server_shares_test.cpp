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
  Words all{"run",     "--engine=udp", "--bs=200",         "--name=j",       "--server=" + from,
            "--rw=tx", "--to=k",       "--rate_iops=2000", "--runtime=500ms"};
  all.insert(all.end(), more_of_j.begin(), more_of_j.end());
  all.insert(all.end(), {"--name=k", "--server=" + to, "--rw=rx", "--hostname=127.0.0.1",
                         "--port=" + free_port()});
  all.insert(all.end(), more_of_k.begin(), more_of_k.end());
  return all;
}

const Json& named(const Json& list, const std::string& name) {
  const auto it =
      std::ranges::find_if(list, [&](const Json& each) { return each.at("jobname") == name; });
  if (it == list.end()) throw std::runtime_error("no job " + name);
  return *it;
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
  const Json& j = named(result.at("jobs"), one.address() + "/j");
  const Json& k = named(result.at("jobs"), other.address() + "/k");
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

TEST(PerfShares, TheLinesOfAStreamAddUpToTheLossesThatOnlyTheSenderKnowsOf) {
  RunningServer one({"--allow-live"}), other;
  const TempDir directory;
  const std::string file = directory.path() + "/result.json";
  Words words =
      one_way(one.address(), other.address(), {"--fault=drop=301-100000", "--drain_time=300ms"});
  words.insert(words.end(), {"--json-stream", "--status-interval=200ms", "--output-format=json",
                             "--output=" + file});
  const ToolResult said = shmifperf(words);
  EXPECT_EQ(said.status, 0) << said.err;
  std::istringstream lines(said.out);
  std::uint64_t received = 0, lost = 0, last_total = 0;
  for (std::string line; std::getline(lines, line);) {
    const Json told = Json::parse(line);
    for (const Json& job : told.at("jobs")) {
      if (job.at("jobname") != other.address() + "/k") continue;
      received += count_of(job.at("interval"), "rx_frames");
      lost += count_of(job.at("interval"), "lost_frames");
      last_total = count_of(job, "lost_frames");
    }
  }
  const Json result = Json::parse(std::ifstream(file));
  const Json& loss = named(result.at("jobs"), other.address() + "/k").at("loss");
  EXPECT_GT(count_of(loss, "lost_frames"), 100U) << loss;
  EXPECT_EQ(lost, count_of(loss, "lost_frames")) << said.out;
  EXPECT_EQ(last_total, lost) << said.out;
  EXPECT_EQ(received, 300U) << said.out;
  const Json& flow = loss.at("flows").at(0);
  EXPECT_EQ(flow.at("gaps"), Json::array({Json::array({300, loss.at("sent_frames")})})) << flow;
  EXPECT_GE(flow.at("jitter_ns"), 0) << flow;
}

TEST(PerfShares, FramesThatComeDamagedAreLostInNoLineOfAStream) {
  RunningServer one({"--allow-live"}), other;
  const TempDir directory;
  const std::string file = directory.path() + "/result.json";
  Words words = one_way(one.address(), other.address(),
                        {"--fault=corrupt=5%,loss=5%,seed=7", "--drain_time=300ms"},
                        {"--continue_on_error=verify"});
  words.insert(words.end(), {"--json-stream", "--status-interval=100ms", "--output-format=json",
                             "--output=" + file});
  const ToolResult said = shmifperf(words);
  EXPECT_EQ(said.status, 0) << said.err;
  std::istringstream lines(said.out);
  std::uint64_t lost = 0;
  for (std::string line; std::getline(lines, line);) {
    const Json told = Json::parse(line);
    for (const Json& job : told.at("jobs")) {
      if (job.at("jobname") == other.address() + "/k")
        lost += count_of(job.at("interval"), "lost_frames");
    }
  }
  const Json result = Json::parse(std::ifstream(file));
  const Json& loss = named(result.at("jobs"), other.address() + "/k").at("loss");
  EXPECT_GT(count_of(loss, "corrupt_frames"), 10U) << loss;
  EXPECT_EQ(lost, count_of(loss, "lost_frames")) << said.out;
  double explained = 0;
  for (const Json& cause : result.at("causes")) {
    if (cause.at("job") != other.address() + "/k") continue;
    if (cause.at("of_losses_share").is_number())
      explained += cause.at("of_losses_share").get<double>();
  }
  EXPECT_DOUBLE_EQ(explained, 1) << "the faults explain all: " << result.at("causes");
}

TEST(PerfShares, AReceiverThatHasAllFramesWaitsForNoMore) {
  RunningServer one({"--allow-live"}), other;
  // It would listen for ten minutes.
  const Json result = result_of(one_way(one.address(), other.address(), {"--drain_time=300"}));
  const std::uint64_t sent =
      count_of(named(result.at("jobs"), one.address() + "/j").at("tx"), "frames");
  const Json& loss = named(result.at("jobs"), other.address() + "/k").at("loss");
  EXPECT_EQ(count_of(loss, "received_frames"), sent) << loss;
  expect_sum(loss, sent);
}

TEST(PerfShares, TheEndOfASenderEndsNoOtherReceiver) {
  RunningServer one({"--allow-live"}), two({"--allow-live"}), other;
  Words words = one_way(one.address(), other.address(), {"--number_ios=10"});
  words.insert(words.end(),
               {"--name=l", "--server=" + two.address(), "--rw=tx", "--to=m", "--rate_iops=2000",
                "--runtime=1", "--name=m", "--server=" + other.address(), "--rw=rx",
                "--hostname=127.0.0.1", "--port=" + free_port()});
  const Json result = result_of(words);
  const std::uint64_t sent =
      count_of(named(result.at("jobs"), two.address() + "/l").at("tx"), "frames");
  EXPECT_GT(sent, 500U) << "the other one had sent its ten frames long before";
  const Json& loss = named(result.at("jobs"), other.address() + "/m").at("loss");
  EXPECT_EQ(count_of(loss, "received_frames"), sent) << loss;
  expect_sum(loss, sent);
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
  const std::uint64_t sent =
      count_of(named(result.at("jobs"), one.address() + "/j").at("tx"), "frames");
  const Json& loss = named(result.at("jobs"), other.address() + "/k").at("loss");
  EXPECT_GT(sent, 0U);
  EXPECT_EQ(count_of(loss, "received_frames"), sent) << loss;
  expect_sum(loss, sent);
}

TEST(PerfShares, FramesToAReceiverThatADamagedOneEndedAreCancelled) {
  RunningServer one({"--allow-live"}), other;
  const Json result =
      result_of(one_way(one.address(), other.address(), {"--fault=corrupt=5%,seed=7"}), 1);
  const Json& j = named(result.at("jobs"), one.address() + "/j");
  const Json& loss = named(result.at("jobs"), other.address() + "/k").at("loss");
  expect_sum(loss, count_of(j.at("tx"), "frames"));
  EXPECT_GE(count_of(loss, "corrupt_frames"), 1U) << "more if they came together";
  EXPECT_EQ(count_of(loss, "corrupt_copies"), 0U) << loss;
  EXPECT_GT(count_of(loss, "cancelled_frames"), count_of(loss, "lost_frames")) << loss;
}

TEST(PerfShares, FramesThatComeAfterADrainTimeAreLateAsOnOneMachine) {
  RunningServer one({"--allow-live"}), other;
  const Json result = result_of(
      one_way(one.address(), other.address(), {"--fault=delay=1200ms", "--drain_time=1"}));
  const Json& j = named(result.at("jobs"), one.address() + "/j");
  const Json& loss = named(result.at("jobs"), other.address() + "/k").at("loss");
  expect_sum(loss, count_of(j.at("tx"), "frames"));
  EXPECT_EQ(count_of(loss, "lost_frames"), 0U) << loss;
  EXPECT_GT(count_of(loss, "late_frames"), 0U) << loss;
  EXPECT_GT(count_of(loss, "received_frames"), 0U) << loss;
}

TEST(PerfShares, AnOptionForAllJobsConcernsThoseThatUseIt) {
  RunningServer one({"--allow-live"}), other;
  const Json result = result_of({"run", "--engine=udp", "--rate_iops=1000", "--runtime=200ms",
                                 "--name=j", "--server=" + one.address(), "--rw=tx", "--to=k",
                                 "--name=k", "--server=" + other.address(), "--rw=rx",
                                 "--hostname=127.0.0.1", "--port=" + free_port()});
  const std::uint64_t sent =
      count_of(named(result.at("jobs"), one.address() + "/j").at("tx"), "frames");
  EXPECT_LE(sent, 201U);
  expect_sum(named(result.at("jobs"), other.address() + "/k").at("loss"), sent);
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
    k = named(result.at("jobs"), other.address() + "/k");
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

TEST(PerfShares, EachServerRunsItsOwnJobs) {
  RunningServer one, other;
  const Json result =
      result_of({"run", "--runtime=200ms", "--rate_iops=100", "--name=a",
                 "--server=" + one.address(), "--name=b", "--server=" + other.address()});
  EXPECT_EQ(result.at("jobs").size(), 4U) << "and the peers that receive";
  EXPECT_EQ(named(result.at("jobs"), one.address() + "/a.sink").at("loss").at("lost_frames"), 0);
  EXPECT_EQ(named(result.at("jobs"), other.address() + "/b.sink").at("loss").at("lost_frames"), 0);
}

TEST(PerfShares, WhatCannotBeIsRefusedBeforeAnyServerIsAsked) {
  const auto refused = [](const Words& words, const std::string& why) {
    const ToolResult said = shmifperf(words);
    EXPECT_EQ(said.status, 2) << said.err << said.out;
    EXPECT_NE(said.err.find(why), std::string::npos) << said.err;
  };
  const auto way = [](const Words& of_j, const Words& of_k = {}) {
    return one_way("198.18.0.1", "198.18.0.2", of_j, of_k);
  };
  refused({"run", "--runtime=1", "--name=j", "--server=198.18.0.1", "--rw=tx", "--to=k", "--name=k",
           "--server=198.18.0.2", "--rw=rx"},
          "give both jobs bus, and join the buses with 'shmifctl uplink'");
  refused(way({"--rw=txrx"}, {"--rw=txrx", "--runtime=1"}), "over engine=udp frames go one way");
  refused(way({"--runtime=0", "--number_ios=5"}), "must know how long to listen (give runtime)");
  refused(way({"--ramp_time=1"}), "does not know the ramp");
  refused(way({"--numjobs=2"}, {"--numjobs=2"}), "clones cannot share its port");
  refused(way({}, {"--port=0"}), "its port must be known");
  refused(way({"--repeat=2"}), "leave repeat out");
  refused({"run", "--runtime=1", "--name=a", "--server=198.18.0.1", "--name=b"},
          "job \"b\": server: other jobs have a server");
  refused({"run", "--runtime=1", "--server=198.18.0.1", "--client=198.18.0.2"},
          "--client runs all jobs on each server");
  refused({"run", "--runtime=1", "--server=[::1"}, "job \"job\": server: ");
}

TEST(PerfShares, AServerThatDoesNotSendToOthersForClientsSaysSo) {
  RunningServer one, other;
  const ToolResult said = shmifperf(one_way(one.address(), other.address()));
  EXPECT_EQ(said.status, 1) << said.out;
  EXPECT_NE(said.out.find(one.address() + ": refused: job \"j\": no_peer: "), std::string::npos)
      << said.out;
  EXPECT_NE(said.out.find("--allow-live"), std::string::npos) << said.out;
}

}  // namespace
}  // namespace shmif::test
