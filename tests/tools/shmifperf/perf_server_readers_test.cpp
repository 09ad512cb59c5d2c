// Clients that read slowly, or not at all, and what that costs the others.

#include <netinet/tcp.h>

#include <chrono>
#include <memory>
#include <thread>

#include "tests/tools/shmifperf/perf_server_rig.hpp"

namespace shmif::test {
namespace {

using namespace std::chrono_literals;

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
