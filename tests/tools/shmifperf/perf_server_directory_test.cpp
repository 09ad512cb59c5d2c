// The files of clients stay below --directory, also if a neighbour exchanges directories for links
// while jobs are checked and run.

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
#include <sstream>
#include <string>

#include "shmif/bus.hpp"
#include "tests/support/paths.hpp"
#include "tests/tools/shmifperf/perf_server_rig.hpp"

namespace shmif::test {
namespace {

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
