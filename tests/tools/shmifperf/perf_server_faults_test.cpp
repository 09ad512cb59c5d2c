// Clients and servers that vanish, and strangers that talk nonsense.

#include <algorithm>
#include <filesystem>
#include <random>

#include "tests/tools/shmifperf/perf_server_rig.hpp"

namespace shmif::test {
namespace {

/// A client with a run that lasts.
struct LongRun : Tool {
  explicit LongRun(const std::string& servers, const Words& options = {})
      : Tool(client_words(servers, long_job() + options)) {}
};

/// The run and its two jobs, at work.
bool is_at_work(RunningServer& server) {
  return server.says("the jobs begin") &&
         eventually([&] { return descendants(server.pid()).size() >= 3; });
}
/// How many buses that process has made for its run.
std::ptrdiff_t buses_of(pid_t process) {
  const std::string prefix = "shmifperf-" + std::to_string(process) + '-';
  const std::filesystem::directory_iterator files("/dev/shm");
  return std::count_if(begin(files), end(files), [&](const auto& file) {
    return file.path().filename().string().starts_with(prefix);
  });
}
bool is_idle(const RunningServer& server) {
  return eventually([&] { return !server.has_jobs(); });
}
bool can_run(RunningServer& server) {
  const ToolResult result = run_program(client_words(server.address(), short_job()));
  EXPECT_EQ(result.status, 0) << result.err << result.out;
  return result.status == 0;
}

/// Accepts one connection and plays the server's part.
class HandMadeServer {
 public:
  HandMadeServer() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(fd_.get(), 4), 0);
    getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  HandMadeClient accept_one() const {
    return HandMadeClient(UniqueFd(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
  }

 private:
  UniqueFd fd_;
  std::uint16_t port_ = 0;
};

TEST(PerfServerFaults, NeitherSideTakesAnotherVersionOrAnotherProgram) {
  RunningServer server;
  perf::HelloMessage newer = hello(), other = hello();
  newer.protocol = 99;
  other.version = "9.8.7";
  for (const auto& [greeting, theirs, ours] :
       std::vector<std::tuple<perf::HelloMessage, std::string, std::string>>{
           {newer, "protocol 99", "protocol " + std::to_string(perf::kRemoteProtocol)},
           {other, "shmifperf 9.8.7", "shmifperf " + version_under_test()}}) {
    HandMadeClient client(server.port());
    ASSERT_TRUE(client.send(greeting));
    EXPECT_EQ(client.receive().at("type"), "hello");
    const std::string why = client.receive().at("why").at(0);
    EXPECT_TRUE(has(why, theirs) && has(why, ours)) << why;
  }
  for (const auto& [bytes, says] : std::vector<std::pair<std::string, std::string>>{
           {perf::with_length(perf::encode(other)), "9.8.7"},
           {"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "it is not a shmifperf server"}}) {
    HandMadeServer played;
    Tool client(client_words(played.address(), short_job()));
    HandMadeClient connection = played.accept_one();
    connection.send_bytes(bytes);
    const ToolResult result = client.finish();
    EXPECT_EQ(result.status, 1);
    EXPECT_TRUE(has(result.out, says)) << result.out;
  }
}

TEST(PerfServerFaults, AServerIsOneClientsUntilThatIsKilled) {
  RunningServer server;
  LongRun run(server.address());
  ASSERT_TRUE(is_at_work(server));
  const ToolResult second = run_program(client_words(server.address(), short_job()));
  EXPECT_EQ(second.status, 1);
  EXPECT_TRUE(has(second.out, "it is busy with a run of 127.0.0.1:")) << second.out;
  run.signal(SIGKILL);
  EXPECT_TRUE(is_idle(server));
  EXPECT_TRUE(server.says("is gone"));
  EXPECT_TRUE(can_run(server));
}

TEST(PerfServerFaults, ASilentClientFreesTheServer) {
  RunningServer server;
  LongRun run(server.address());
  ASSERT_TRUE(is_at_work(server));
  run.signal(SIGSTOP);
  EXPECT_TRUE(server.says("it no longer answers"));
  EXPECT_TRUE(is_idle(server));
  EXPECT_TRUE(can_run(server));
  run.signal(SIGCONT);
  const ToolResult result = run.finish();
  EXPECT_EQ(result.status, 1) << result.out;
}

TEST(PerfServerFaults, AKilledServerLeavesNoJobBehindAndTheOthersReport) {
  RunningServer doomed;
  RunningServer other;
  LongRun run(doomed.address() + ',' + other.address());
  ASSERT_TRUE(is_at_work(doomed));
  ASSERT_TRUE(is_at_work(other));
  const std::vector<pid_t> jobs = descendants(doomed.pid());
  doomed.tool().signal(SIGKILL);
  EXPECT_TRUE(eventually([&] { return std::ranges::all_of(jobs, is_dead); }));
  const ToolResult result = run.finish();
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(has(result.out, doomed.address() + ": the connection was lost")) << result.out;
  EXPECT_TRUE(has_row_of(result.out, other)) << result.out;
  EXPECT_TRUE(is_idle(other));
}

TEST(PerfServerFaults, AKilledRunFailsWithItsSignalAndTheServerGoesOn) {
  RunningServer server;
  LongRun run(server.address());
  ASSERT_TRUE(is_at_work(server));
  const pid_t process = descendants(server.pid()).front();
  EXPECT_EQ(buses_of(process), 1);
  ::kill(process, SIGKILL);
  const ToolResult result = run.finish();
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(has(result.out, "the process of the run was killed by signal 9")) << result.out;
  EXPECT_TRUE(is_idle(server));
  EXPECT_EQ(buses_of(process), 0) << "nothing is left of it";
  EXPECT_TRUE(can_run(server));
}

TEST(PerfServerFaults, AServerThatIsToldToEndWaitsNeitherForTheRuntimeNorForCommands) {
  TempDir directory;
  RunningServer server({"--allow-exec", "--directory=" + directory.path()});
  LongRun run(server.address(), {"--runtime=600", "--exec_postrun=sleep 600"});
  ASSERT_TRUE(is_at_work(server));
  const std::vector<pid_t> all = descendants(server.pid());
  server.tool().signal(SIGTERM);
  EXPECT_EQ(server.tool().finish().status, 0);
  EXPECT_TRUE(std::ranges::all_of(all, is_dead));
  const ToolResult result = run.finish();
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(has_row_of(result.out, server)) << result.out;
}

TEST(PerfServerFaults, AnInterruptedClientStopsAllServersAndReports) {
  RunningServer first;
  RunningServer second;
  LongRun run(first.address() + ',' + second.address());
  ASSERT_TRUE(is_at_work(first));
  ASSERT_TRUE(is_at_work(second));
  run.signal(SIGINT);
  const ToolResult result = run.finish();
  EXPECT_EQ(result.status, 128 + SIGINT) << result.err;
  EXPECT_TRUE(has(result.out, ": stopped by SIGINT on 2 servers, ")) << result.out;
  for (RunningServer* server : {&first, &second}) {
    EXPECT_TRUE(has_row_of(result.out, *server)) << result.out;
    EXPECT_TRUE(is_idle(*server));
  }
}

/// What comes behind its jobs takes longer than anybody waits, and heeds no stop.
const Words kLongEnd = {"--exec_postrun=sleep 600", "--eta=always", "--status-interval=200ms"};
bool sleeps(const RunningServer& server) {
  return std::ranges::any_of(descendants(server.pid()), [](pid_t pid) {
    std::ifstream comm("/proc/" + std::to_string(pid) + "/comm");
    std::string name;
    return std::getline(comm, name) && name == "sleep";
  });
}

TEST(PerfServerFaults, ASecondInterruptOrTheDeathOfTheClientIsAHardStop) {
  TempDir directory;
  RunningServer server({"--allow-exec", "--directory=" + directory.path()});
  for (const int second : {SIGINT, SIGKILL}) {
    LongRun run(server.address(), kLongEnd);
    ASSERT_TRUE(run.wait_for("[RR]"));
    run.signal(SIGINT);
    ASSERT_TRUE(eventually([&] { return sleeps(server); }));
    const std::vector<pid_t> all = descendants(server.pid());
    run.signal(second);
    EXPECT_TRUE(eventually([&] { return std::ranges::all_of(all, is_dead); }));
    const ToolResult result = run.finish();
    EXPECT_EQ(result.status, 128 + second);
    EXPECT_TRUE(is_idle(server));
  }
  EXPECT_TRUE(can_run(server));
}

// ---- Nonsense ----

std::string random_bytes(std::mt19937& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

/// Each is what somebody sends who is no client, or means harm.
std::vector<std::string> nonsense(std::mt19937& random) {
  const std::string good = perf::with_length(perf::encode(hello()));
  std::string deep(2000, '[');
  std::vector<std::string> all{
      "",
      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
      std::string("\xff\xff\xff\xff", 4),
      std::string("\0\0\0\0", 4),
      std::string("\0\0\x10\x01", 4) + "{",
      perf::with_length("{}"),
      perf::with_length("null"),
      perf::with_length(deep),
      perf::with_length("{\"type\":\"hello\"}"),
      perf::with_length("{\"type\":\"go\",\"start_ns\":1}"),
      perf::with_length("{\"type\":\"hello\",\"name\":[],\"protocol\":-1}"),
      good.substr(0, good.size() / 2),
      good + good,
      good + std::string("\x7f\xff\xff\xff", 4),
      good + perf::with_length("{\"type\":\"finished\",\"result\":\"x\"}"),
  };
  for (int i = 0; i < 10; ++i) all.push_back(random_bytes(random, 1 + random() % 20000));
  return all;
}

TEST(PerfServerFaults, GarbageOnThePortHarmsNeitherTheServerNorTheRunItHolds) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  RunningServer server;
  Tool run(client_words(server.address(), {"--rw=tx", "--bs=100", "--rate_iops=500",
                                           "--number_ios=1000", "--output-format=json"}));
  ASSERT_TRUE(is_at_work(server));
  // One that sends its hello a byte at a time, for longer than the server waits.
  HandMadeClient slow(server.port());
  const std::string greeting = perf::with_length(perf::encode(hello()));
  std::size_t sent = 0;
  for (const std::string& bytes : nonsense(random)) {
    HandMadeClient client(server.port());
    (void)client.send_bytes(bytes);
    if (sent < 20) (void)slow.send_bytes({&greeting[sent++], 1});
  }
  // So many that say nothing that there is no room for them.
  std::vector<std::unique_ptr<HandMadeClient>> crowd;
  for (int i = 0; i < 60; ++i) crowd.push_back(std::make_unique<HandMadeClient>(server.port()));
  EXPECT_TRUE(slow.is_closed_on());
  EXPECT_TRUE(crowd.front()->is_closed_on());

  const ToolResult result = run.finish();
  ASSERT_EQ(result.status, 0) << result.err << result.out;
  const Json json = Json::parse(result.out);
  EXPECT_EQ(json.at("jobs").at(0).at("tx").at("frames"), 1000);
  EXPECT_EQ(json.at("jobs").at(1).at("loss").at("lost_frames"), 0);
  crowd.clear();
  EXPECT_TRUE(can_run(server));
}

}  // namespace
}  // namespace shmif::test
