// Clients and servers that vanish, and strangers that talk nonsense.

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <ostream>
#include <random>
#include <sstream>
#include <string>

#include "shmif/bus.hpp"
#include "tests/support/paths.hpp"
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

// The files of clients stay below --directory, also if a neighbour exchanges directories for links
// while jobs are checked and run.

/// Options of a job that name a file; @ is the directory that the neighbour exchanges.
struct NamedFile {
  const char* name;
  Words options;
  int status = 0;  ///< of a run while nobody exchanges anything
};
void PrintTo(const NamedFile& named, std::ostream* out) {
  *out << named.name;
}

// NOLINTNEXTLINE(cert-err58-cpp): a table of texts
const std::vector<NamedFile> kNamed{
    {"Capture", {"--engine=pcap", "--rw=tx", "--filename=@/out.pcap"}},
    {"CaptureToRead", {"--engine=pcap", "--rw=rx", "--filename=@/in.pcap"}, 1},
    {"Record", {"--write_pcap=@/record.pcap"}},
    {"Replay", {"--replay=@/in.pcap"}},
    {"Headers", {"--headers=pcap(@/udp.pcap,1)", "--bs=128"}},
    {"Log", {"--write_bw_log=@/log"}},
    {"Histograms", {"--write_hist_log=@/log", "--log_hist_msec=100"}},
    {"StateToSave", {"--verify_state_save=1", "--aux-path=@"}},
    {"StateToLoad", {"--verify_state_load=@/j-verify.state"}},
    {"TriggerFile", {"--trigger-file=@/trigger", "--runtime=1"}},
    {"Bus", {"--bus=@/bus"}},
    {"Host", {"--engine=host", "--proto=udp", "--write_bw_log=@/log"}},
    {"Stream", {"--engine=stream", "--socket=@/stream"}, 1},
    {"Datagrams", {"--engine=dgram", "--socket=@/a,@/datagram,@/b,@/datagram"}, 1},
    {"VdeSwitch", {"--engine=vde", "--socket=vde://@/switch"}, 1},
    {"VdeBus", {"--engine=vde", "--socket=shmif://@/bus", "--start_delay=1s"}},
};

UniqueFd listener_at(const std::string& path, int type) {
  UniqueFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::chmod(path.c_str(), 0666), 0);
  if (type == SOCK_STREAM) {
    EXPECT_EQ(::listen(fd.get(), 16), 0);
  }
  return fd;
}

/// The directory of a server, with "door" in it, and a place outside, which has a file for each
/// name that the jobs use, and one more.
class PerfServerDirectory : public testing::TestWithParam<NamedFile> {
 protected:
  void SetUp() override {
    if (std::string(GetParam().name) == "VdeBus") {
#ifdef SHMIF_HAS_VDE
      ASSERT_EQ(::setenv("VDEPLUGIN_PATH", in_build("tools").c_str(), 1), 0);
#else
      GTEST_SKIP() << "built without libvdeplug";
#endif
    }
    std::filesystem::create_directories(parent_.file("dir/door"));
    std::filesystem::create_directory(parent_.file("outside"));
    make_samples();
    fill(parent_.file("dir/door"));
    fill(parent_.file("outside"));
    std::filesystem::create_directories(parent_.file("client/door"));
    std::filesystem::copy_file(parent_.file("udp.pcap"), parent_.file("client/door/udp.pcap"));
    // Here is nothing to fire at.
    std::filesystem::remove(parent_.file("dir/door/trigger"));
    std::filesystem::create_directory_symlink(parent_.file("outside"), parent_.file("dir/link"));
    for (const char* const name : {"stream", "switch/ctl"})
      listeners_.push_back(listener_at(parent_.file(std::string("outside/") + name), SOCK_STREAM));
    listeners_.push_back(listener_at(parent_.file("outside/datagram"), SOCK_DGRAM));
    before_ = state_of_outside();
  }

  Words options(const std::string& door) const {
    Words words{"--name=j", "--startup_timeout=3", "--rw=tx"};
    if (std::ranges::find(GetParam().options, "--rw=rx") == GetParam().options.end())
      words.insert(words.end(), {"--rate_iops=1000", "--number_ios=20"});
    for (std::string option : GetParam().options) {
      for (std::size_t at = option.find('@'); at != std::string::npos; at = option.find('@', at)) {
        option.replace(at, 1, door);
        at += door.size();
      }
      words.push_back(option);
    }
    return words;
  }
  /// The client has files of the same names below its own directory, which it reads (headers).
  ToolResult run_at(const RunningServer& server, const std::string& door) const {
    Words words = client_words(server.address(), options(door));
    words.insert(words.begin(), {"env", "--chdir=" + parent_.file("client")});
    return run_program(words);
  }
  Words server_options() const { return {"--allow-live", "--directory=" + parent_.file("dir")}; }

  /// What there is outside, when it was last read, and what was sent there.
  std::map<std::string, std::string> state_of_outside() {
    std::map<std::string, std::string> state;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(parent_.file("outside"))) {
      struct stat status{};
      EXPECT_EQ(::lstat(entry.path().c_str(), &status), 0);
      std::ostringstream text;
      text << std::oct << status.st_mode << std::dec << ' ' << status.st_size << " modified "
           << status.st_mtim.tv_sec << '.' << status.st_mtim.tv_nsec;
      // A directory is read here.
      if (S_ISREG(status.st_mode)) text << " read " << status.st_atim.tv_sec;
      state[entry.path().filename().string()] = text.str();
    }
    for (std::size_t i = 0; i < listeners_.size(); ++i) {
      pollfd entry{listeners_[i].get(), POLLIN, 0};
      state["socket " + std::to_string(i)] = ::poll(&entry, 1, 0) == 0 ? "nobody" : "somebody";
    }
    return state;
  }
  void expect_nothing_outside() {
    const auto now = state_of_outside();
    for (const auto& [name, state] : before_) {
      const auto found = now.find(name);
      EXPECT_EQ(found == now.end() ? "gone" : found->second, state) << name;
    }
    for (const auto& each : now) EXPECT_TRUE(before_.contains(each.first)) << each.first;
  }

  const TempDir parent_;

 private:
  /// Captures and a state of the right kind.
  void make_samples() {
    const auto made = [&](const Words& more) {
      Words words{"run", "--name=j", "--rw=tx", "--rate_iops=1000", "--number_ios=20"};
      words.insert(words.end(), more.begin(), more.end());
      const ToolResult result = shmifperf(words);
      EXPECT_EQ(result.status, 0) << result.err;
    };
    made({"--verify_state_save=1", "--aux-path=" + parent_.path(),
          "--write_pcap=" + parent_.file("in.pcap")});
    made({"--headers=ipv4/udp", "--bs=128", "--write_pcap=" + parent_.file("udp.pcap")});
  }
  void fill(const std::string& place) const {
    std::filesystem::create_directory(place + "/switch");
    for (const char* const name : {"in.pcap", "udp.pcap", "j-verify.state"})
      std::filesystem::copy_file(parent_.file(name), place + '/' + name);
    for (const char* const name : {"out.pcap", "record.pcap"})
      std::filesystem::copy_file(parent_.file("in.pcap"), place + '/' + name);
    for (const char* const name : {"trigger", "other"}) std::ofstream(place + '/' + name) << name;
    ASSERT_TRUE(Bus::create(place + "/bus", {.ring_bytes = 1U << 20U, .mode = 0666}));
    for (const auto& entry : std::filesystem::recursive_directory_iterator(place)) {
      std::filesystem::permissions(entry.path(), entry.is_directory()
                                                     ? std::filesystem::perms(0777)
                                                     : std::filesystem::perms(0666));
      // Read long ago: the next reader leaves a mark even where the kernel notes few of them.
      const timespec long_ago[2] = {{.tv_sec = 1000, .tv_nsec = 0}, {.tv_sec = 2000, .tv_nsec = 0}};
      ASSERT_EQ(::utimensat(AT_FDCWD, entry.path().c_str(), long_ago, 0), 0);
    }
    std::filesystem::permissions(place, std::filesystem::perms(0777));
  }

  std::vector<UniqueFd> listeners_;
  std::map<std::string, std::string> before_;
};

/// Exchanges "door" and "link" in a directory, until the destructor.
class Neighbour {
 public:
  explicit Neighbour(const std::string& directory)
      : child_([directory] {
          const std::string door = directory + "/door";
          const std::string link = directory + "/link";
          for (;;) {  // until it is killed
            if (::syscall(SYS_renameat2, AT_FDCWD, door.c_str(), AT_FDCWD, link.c_str(),
                          RENAME_EXCHANGE) != 0)
              return 1;
          }
        }) {}

 private:
  Child child_;
};

TEST_P(PerfServerDirectory, NothingOutsideIsTouchedWhileANeighbourExchangesLinks) {
  constexpr int kRuns = kSanitized ? 2 : 6;
  RunningServer server(server_options());
  {
    const Neighbour neighbour(parent_.file("dir"));
    for (int i = 0; i < kRuns; ++i) {
      const ToolResult result = run_at(server, "door");
      EXPECT_LE(result.status, 1) << result.err;
    }
  }
  expect_nothing_outside();
}

TEST_P(PerfServerDirectory, WithoutANeighbourTheFilesAreUsed) {
  RunningServer server(server_options());
  const ToolResult result = run_at(server, "door");
  EXPECT_EQ(result.status, GetParam().status) << result.err;
  expect_nothing_outside();
}

TEST_P(PerfServerDirectory, AnOrdinaryUsersServerKeepsToItToo) {
  if (kSanitized) GTEST_SKIP() << "a process has more than one thread under sanitizers";
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: becomes another user";
  const Words as_other{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"};
  Words can = as_other;
  can.insert(can.end(), {"unshare", "--user", "--mount", "true"});
  if (run_program(can).status != 0) GTEST_SKIP() << "no user namespaces for ordinary users";
  can = as_other;
  can.insert(can.end(), {shmifperf_path(), "--version"});
  if (run_program(can).status != 0) GTEST_SKIP() << "another user cannot run " << shmifperf_path();
  std::filesystem::permissions(parent_.path(), std::filesystem::perms(0755));
  std::filesystem::permissions(parent_.file("dir"), std::filesystem::perms(0777));
  RunningServer server(server_options(), as_other);
  const ToolResult without = run_at(server, "door");
  EXPECT_EQ(without.status, GetParam().status) << without.err;
  {
    const Neighbour neighbour(parent_.file("dir"));
    for (int i = 0; i < 2; ++i) EXPECT_LE(run_at(server, "door").status, 1);
  }
  expect_nothing_outside();
}

INSTANTIATE_TEST_SUITE_P(Of, PerfServerDirectory, testing::ValuesIn(kNamed),
                         [](const auto& named) { return std::string(named.param.name); });

TEST(PerfServerDirectoryStart, RootWithoutMountsIsRefusedWithWhatIsNeeded) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: setpriv";
  const TempDir directory;
  const auto started = [&](const Words& more) {
    Words words{"setpriv",
                "--bounding-set=-sys_admin",
                "--inh-caps=-all",
                shmifperf_path(),
                "server",
                "--listen=127.0.0.1:0",
                "--directory=" + directory.path()};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const ToolResult refused = run_program(started({}));
  EXPECT_EQ(refused.status, 77) << refused.out;
  EXPECT_TRUE(has(refused.err, "cannot keep the files of clients below " + directory.path()))
      << refused.err;
  EXPECT_TRUE(has(refused.err, "CAP_SYS_ADMIN")) << refused.err;
  Tool trusting(started({"--allow-exec"}));
  EXPECT_TRUE(trusting.wait_for("listens on ")) << trusting.so_far().err;
}

TEST(PerfServerDirectoryStart, WhoMayReplaceItIsSaid) {
  const TempDir parent;
  std::filesystem::create_directory(parent.file("dir"));
  std::filesystem::permissions(parent.path(), std::filesystem::perms(0777));
  RunningServer server({"--directory=" + parent.file("dir")});
  EXPECT_TRUE(server.says("other users may replace " + parent.file("dir") + ", and so redirect"));
}

}  // namespace
}  // namespace shmif::test
