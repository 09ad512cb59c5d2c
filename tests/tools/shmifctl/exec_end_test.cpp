// shmifctl exec: however many hosts end at once, and whatever their programs do against it, nothing
// of them is left. And what shmifctl stop waits for.

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>

#include "base/unique_fd.hpp"
#include "shmif/port.hpp"
#include "tests/support/traced_family.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

class ExecEnd : public ExecRig {
 protected:
  /// A shell, leader of a process group of its own, that runs `script`.
  class Group {
   public:
    Group(const std::string& mark, const std::string& script) {
      std::fflush(nullptr);
      pid_ = ::fork();
      if (pid_ != 0) {
        ::setpgid(pid_, pid_);  // both of them, so that the group is there for whoever comes first
        return;
      }
      ::setpgid(0, 0);
      ::putenv(const_cast<char*>(mark.c_str()));
      ::execlp("sh", "sh", "-c", script.c_str(), nullptr);
      ::_exit(99);
    }
    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;
    ~Group() {
      ::kill(-pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    void signal(int number) const { ::kill(-pid_, number); }

   private:
    pid_t pid_ = -1;
  };

  /// A host's command line as a shell takes it. No word of it has a quote in it.
  std::string shell_line(const std::string& script) const {
    std::string line;
    for (const std::string& word : host_line({"sh", "-c", script}, {})) line += '\'' + word + "' ";
    return line;
  }
  long live_ports() const {
    const BusInfo info = Bus::open(bus()).value().info();
    return std::ranges::count_if(info.ports, [](const PortInfo& port) { return port.live; });
  }
  void expect_nothing_left() const {
    EXPECT_TRUE(eventually([&] { return processes_with(mark_).empty(); }))
        << processes_with(mark_).size() << " processes";
    EXPECT_TRUE(eventually([&] { return live_ports() == 0; })) << live_ports() << " ports";
  }
  Words marked(const std::string& script) const {
    return by_env(host_line({"sh", "-c", script}, {"--name", "a"}));
  }
  Words by_env(Words line) const {
    line.insert(line.begin(), {"env", mark_});
    return line;
  }

  const std::string mark_ = fresh_mark();
};

INSTANTIATE_TEST_SUITE_P(Each, ExecEnd, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecEnd, NothingIsLeftOfTwentyHostsWhoseProcessGroupIsEndedAtOnce) {
  for (const int number : {SIGKILL, SIGTERM, SIGHUP}) {
    const Group group(mark_, "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do " +
                                 shell_line("setsid sleep 1000 & sleep 1000") + "& done; wait");
    ASSERT_TRUE(eventually([&] { return live_ports() == 20; })) << live_ports();
    group.signal(number);
    expect_nothing_left();
  }
}

TEST_P(ExecEnd, NothingIsLeftOfAHostThatIsKilledWhileItsProgramForksWithoutPause) {
  for (const int number : {SIGKILL, SIGTERM}) {
    Tool host(
        marked("echo here; i=0; while test $i -lt 400; do (setsid sleep 1000 &); i=$((i+1)); done; "
               "sleep 1000"));
    ASSERT_TRUE(host.wait_for("here"));
    ASSERT_TRUE(eventually([&] { return processes_with(mark_).size() > 40; }));
    host.signal(number);
    expect_nothing_left();
    EXPECT_EQ(host.finish().status, 128 + number);
  }
}

TEST_P(ExecEnd, NothingIsLeftOfAProgramThatIgnoresSignalsWhenItsHostIsKilled) {
  Tool host(
      marked("trap 'echo no' TERM; trap '' INT HUP; echo here; "
             "while :; do sleep 0.05; done"));
  ASSERT_TRUE(host.wait_for("here"));
  for (const int number : {SIGHUP, SIGINT, SIGTERM}) host.signal(number);
  EXPECT_TRUE(host.wait_for("no")) << "it has the last word on its own end";
  EXPECT_FALSE(processes_with(mark_).empty());
  host.signal(SIGKILL);
  expect_nothing_left();
}

TEST_P(ExecEnd, HostThatIsKilledAndStartedAgainAtOnceHasItsNameAgain) {
  // The kernel releases TAP devices and io_uring of a killed process before the bus.
  std::vector<std::unique_ptr<Tool>> hosts;
  for (int round = 0; round < 20; ++round) {
    hosts.push_back(std::make_unique<Tool>(
        host_line({"sh", "-c", "echo here; sleep 1000"},
                  {"--name", "a", "--mac", "b2:a0:00:00:00:01", "--ip", "198.18.0.1/24"})));
    ASSERT_TRUE(hosts.back()->wait_for("here")) << round << ": " << hosts.back()->finish().err;
    hosts.back()->signal(SIGKILL);
  }
}

TEST_P(ExecEnd, HostThatLeadsASessionEndsWithItsTerminal) {
  // As with `ssh -t`: no shell passes the hang-up on, and the kernel tells only the leader.
  UniqueFd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(master && ::grantpt(master.get()) == 0 && ::unlockpt(master.get()) == 0);
  const std::string name = ::ptsname(master.get());
  Words line = marked("exec sleep 1000");
  std::fflush(nullptr);
  const pid_t host = ::fork();
  if (host == 0) {
    ::setsid();
    const int terminal = ::open(name.c_str(), O_RDWR | O_CLOEXEC);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(terminal, fd);
    std::vector<char*> words;
    for (std::string& word : line) words.push_back(word.data());
    words.push_back(nullptr);
    ::execvp(words[0], words.data());
    ::_exit(99);
  }
  EXPECT_TRUE(eventually([&] { return port("a") && port("a")->up; }));
  EXPECT_TRUE(eventually([&] { return processes_with(mark_).size() >= 3; }));
  master.reset();
  int status = -1;
  EXPECT_TRUE(eventually([&] { return ::waitpid(host, &status, WNOHANG) == host; }));
  EXPECT_EQ(status, W_EXITCODE(128 + SIGHUP, 0));
  expect_nothing_left();
  if (status == -1) ::kill(host, SIGKILL);
}

}  // namespace
}  // namespace shmif::test
