// shmifctl enter by root into a host of another user: neither gets at the other.

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pty.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <termios.h>

#include <cstddef>
#include <fstream>
#include <sstream>

#include "base/unique_fd.hpp"
#include "tests/support/child_process.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

std::vector<pid_t> children_of(pid_t parent) {
  const std::string number = std::to_string(parent);
  std::ifstream file("/proc/" + number + "/task/" + number + "/children");
  std::vector<pid_t> pids;
  for (pid_t each = 0; file >> each;) pids.push_back(each);
  return pids;
}

/// A program of root on a terminal of its own.
class OnTerminal {
 public:
  explicit OnTerminal(Words words, const std::function<void()>& before = [] {}) {
    std::fflush(nullptr);
    pid_ = ::forkpty(&terminal_, nullptr, nullptr, nullptr);
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    before();
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::setenv("PS1", "$ ", 1);
    ::execvp(argv[0], argv.data());
    ::_exit(99);
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;
  ~OnTerminal() {
    ::close(terminal_);
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  /// The name of the terminal.
  std::string terminal() const { return ::ptsname(terminal_); }
  void type(const std::string& keys) const { (void)!::write(terminal_, keys.data(), keys.size()); }
  /// Waits for `text` on the screen, and forgets the screen up to its end.
  bool shows(const std::string& text) {
    return eventually([&] {
      read_screen();
      const std::size_t at = screen_.find(text);
      if (at == std::string::npos) return false;
      screen_.erase(0, at + text.size());
      return true;
    });
  }
  /// Whether keys go to the program as they are.
  bool is_raw() const {
    termios modes{};
    return ::tcgetattr(terminal_, &modes) == 0 && (modes.c_lflag & (ICANON | ECHO)) == 0;
  }
  /// Waits for the end. Result: exit status, 128 + n when ended by signal n, -1: it goes on.
  int finish() {
    int status = 0;
    const bool ended = eventually([&] {
      read_screen();
      return ::waitpid(pid_, &status, WNOHANG) == pid_;
    });
    if (!ended) return -1;
    read_screen();
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  const std::string& screen() const { return screen_; }

 private:
  void read_screen() {
    pollfd entry{terminal_, POLLIN, 0};
    while (::poll(&entry, 1, 0) > 0) {
      std::array<char, 4096> chunk{};
      const ssize_t n = ::read(terminal_, chunk.data(), chunk.size());
      if (n <= 0) return;
      screen_.append(chunk.data(), static_cast<std::size_t>(n));
    }
  }

  int terminal_ = -1;
  pid_t pid_ = -1;
  std::string screen_;
};

/// Root, and the host "a" of an ordinary user.
class EnterForeign : public ExecRig {
 protected:
  void SetUp() override {
    if (!GetParam().as_stranger) GTEST_SKIP() << "needs root: has two users";
    ExecRig::SetUp();
    if (IsSkipped()) return;
    host_ = start("a", "echo ready; exec sleep 601");
    ASSERT_TRUE(host_->wait_for("ready"));
  }
  Words line(const std::string& script) const {
    return {shmifctl_path(), "enter", bus(), "a", "--", "sh", "-c", script};
  }
  pid_t init() const {
    const std::vector<pid_t> children = children_of(port("a")->pid);
    return children.size() == 1 ? children[0] : -1;
  }

  std::unique_ptr<Tool> host_;
};
INSTANTIATE_TEST_SUITE_P(Each, EnterForeign, ::testing::Values(exec_settings().back()),
                         [](const auto& each) { return each.param.name; });

TEST_P(EnterForeign, OwnerOfTheHostCannotStopOrKillWhatHasRootsTerminal) {
  OnTerminal enter(line("echo in; read line; echo \"<$line>\"; exit 7"));
  ASSERT_TRUE(enter.shows("in")) << enter.screen();
  for (const char* signal : {"0", "STOP", "KILL", "TERM"}) {
    const ToolResult said = run_program(by_caller(
        {"sh", "-c", "kill -" + std::string(signal) + " $1", "sh", std::to_string(enter.pid())}));
    EXPECT_TRUE(contains(said.err, "not permitted")) << signal;
  }
  enter.type("typed\r");
  EXPECT_TRUE(enter.shows("<typed>")) << enter.screen();
  EXPECT_EQ(enter.finish(), 7);
}

TEST_P(EnterForeign, EachStreamOfTheProgramIsATerminalOfItsOwnThatBelongsToItsUser) {
  OnTerminal enter(
      line("for fd in 0 1 2; do stat -L -c \"stream $fd is %t:%T of %u,\" "
           "/proc/$$/fd/$fd; done"));
  EXPECT_EQ(enter.finish(), 0) << enter.screen();
  struct stat ours{};
  ASSERT_EQ(::stat(enter.terminal().c_str(), &ours), 0);
  std::ostringstream device;
  device << std::hex << major(ours.st_rdev) << ':' << minor(ours.st_rdev) << " of";
  EXPECT_FALSE(contains(enter.screen(), device.str()));
  for (const char* stream : {"stream 0 is ", "stream 1 is ", "stream 2 is "}) {
    const std::size_t at = enter.screen().find(stream);
    ASSERT_NE(at, std::string::npos) << enter.screen();
    const std::string said = enter.screen().substr(at, enter.screen().find(',', at) - at);
    EXPECT_TRUE(said.ends_with(" of 0")) << said;
  }
}

/// From now on keyctl fails in this process and those that it starts.
void fail_keyctl(unsigned number) {
  std::array<sock_filter, 4> filter{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_keyctl, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | number),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program{filter.size(), filter.data()};
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) ::_exit(98);
}

TEST_P(EnterForeign, WhereTheKeysOfRootWouldStayNothingIsEntered) {
  OnTerminal refused(line("echo in"), [] { fail_keyctl(EDQUOT); });
  EXPECT_TRUE(refused.shows("keyring: Disk quota exceeded")) << refused.screen();
  EXPECT_EQ(refused.finish(), 125);
  OnTerminal keyless(line("echo in"), [] { fail_keyctl(ENOSYS); });
  EXPECT_TRUE(keyless.shows("in")) << "a kernel without keys" << keyless.screen();
  EXPECT_EQ(keyless.finish(), 0);
}

TEST_P(EnterForeign, KeysAreForTheProgramAgainWhenAShellContinuesIt) {
  if (!has_program("bash")) GTEST_SKIP() << "no bash here";
  OnTerminal shell({"bash", "--norc", "--noprofile", "--noediting", "-i"});
  std::string command;
  for (const std::string& word : line("echo up-$((6*7)); read l; echo \"<$l>\"; read l; exit 7")) {
    command += '\'' + word + "' ";
  }
  shell.type(command + '\n');
  ASSERT_TRUE(shell.shows("up-42")) << shell.screen();
  ASSERT_TRUE(eventually([&] { return shell.is_raw(); }));
  ASSERT_EQ(children_of(shell.pid()).size(), 1U);
  ::kill(children_of(shell.pid())[0], SIGSTOP);
  ASSERT_TRUE(shell.shows("Stopped")) << shell.screen();
  shell.type("stty sane\n");
  ASSERT_TRUE(eventually([&] { return !shell.is_raw(); }));
  shell.type("echo mine-$((6*7))\n");
  ASSERT_TRUE(shell.shows("mine-42")) << shell.screen();
  shell.type("fg\n");
  EXPECT_TRUE(eventually([&] { return shell.is_raw(); }));
  shell.type("typed\r");
  EXPECT_TRUE(shell.shows("<typed>")) << shell.screen();
  shell.type("\r");
  ASSERT_TRUE(shell.shows("$ ")) << shell.screen();
  shell.type("echo status-$?-\n");
  EXPECT_TRUE(shell.shows("status-7-")) << shell.screen();
}

}  // namespace
}  // namespace shmif::test
