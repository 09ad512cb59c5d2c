// What a server answers to each message at each time, and what it writes into its log.

#include <algorithm>
#include <ctime>
#include <regex>

#include "tests/tools/shmifperf/perf_server_rig.hpp"

namespace shmif::test {
namespace {

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

}  // namespace
}  // namespace shmif::test
