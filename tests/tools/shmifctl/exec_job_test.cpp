// shmifctl exec as a job of an interactive shell, typed at a real terminal.

#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/support/traced_family.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

/// An interactive bash on a terminal of its own.
class Shell {
 public:
  explicit Shell(const std::string& mark) : master_(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    EXPECT_TRUE(master_ && ::grantpt(master_.get()) == 0 && ::unlockpt(master_.get()) == 0);
    const std::string name = ::ptsname(master_.get());
    std::fflush(nullptr);
    shell_ = ::fork();
    if (shell_ == 0) {
      ::setsid();
      const int terminal = ::open(name.c_str(), O_RDWR | O_CLOEXEC);
      for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(terminal, fd);
      ::putenv(const_cast<char*>(mark.c_str()));
      ::setenv("PS1", "$ ", 1);
      ::execlp("bash", "bash", "--norc", "--noprofile", "--noediting", "-i", nullptr);
      ::_exit(99);
    }
  }
  Shell(const Shell&) = delete;
  Shell& operator=(const Shell&) = delete;
  ~Shell() {
    master_.reset();
    ::kill(shell_, SIGKILL);
    ::waitpid(shell_, nullptr, 0);
  }

  void type(const std::string& keys) const {
    (void)!::write(master_.get(), keys.data(), keys.size());
  }
  /// Waits for `text` on the screen, and forgets the screen up to its end.
  bool shows(const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + kGenerousTime;
    for (;;) {
      const std::size_t at = screen_.find(text);
      if (at != std::string::npos) {
        passed_ = screen_.substr(0, at);
        screen_.erase(0, at + text.size());
        return true;
      }
      pollfd entry{master_.get(), POLLIN, 0};
      if (std::chrono::steady_clock::now() >= deadline) return false;
      if (::poll(&entry, 1, 50) <= 0) continue;
      std::array<char, 4096> chunk{};
      const ssize_t n = ::read(master_.get(), chunk.data(), chunk.size());
      if (n <= 0) return false;
      screen_.append(chunk.data(), static_cast<std::size_t>(n));
    }
  }
  /// Types a command whose answer nothing else prints. Result: whether this shell gives it.
  bool answers(const std::string& name) {
    type("echo " + name + "-$((6*7))-$$\n");
    return shows(name + "-42-" + std::to_string(shell_));
  }
  const std::string& screen() const { return screen_; }
  /// What was on the screen before what shows() found last.
  const std::string& passed() const { return passed_; }

 private:
  UniqueFd master_;
  pid_t shell_ = -1;
  std::string screen_;
  std::string passed_;
};

class ExecJob : public ExecRig {
 protected:
  void SetUp() override {
    ExecRig::SetUp();
    if (!has_program("bash")) GTEST_SKIP() << "no bash here";
  }
  std::string line(Words program) const {
    std::string text;
    for (const std::string& word : host_line(std::move(program), {"--name", "a"})) {
      text += '\'' + word + "' ";
    }
    return text;
  }
  const std::string mark_ = fresh_mark();
};

INSTANTIATE_TEST_SUITE_P(Each, ExecJob, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecJob, ShellInTheBackgroundStopsAndComesBackByFg) {
  for (const Words& inner : {Words{"bash", "--norc", "--noediting"}, {"sh"}}) {
    Shell shell(mark_);
    ASSERT_TRUE(shell.answers("first"));
    shell.type(line(inner) + "&\n");
    ASSERT_TRUE(eventually([&] { return port("a").has_value(); })) << shell.screen();
    // The user's shell has the terminal, and tells that its job has stopped.
    ASSERT_TRUE(eventually([&] {
      shell.type("jobs\n");
      EXPECT_TRUE(shell.answers("mine")) << inner[0] << shell.screen();
      return shell.passed().find("Stopped") != std::string::npos || HasFailure();
    })) << shell.screen();
    shell.type("fg\n");
    // The shell in there now has the terminal: its number is of its own pid namespace.
    shell.type("echo inner-$((6*7))-$$-\n");
    ASSERT_TRUE(shell.shows("inner-42-2-")) << inner[0] << shell.screen();
    shell.type("exit 5\n");
    shell.type("echo status-$?-\n");
    EXPECT_TRUE(shell.shows("status-5-")) << shell.screen();
    EXPECT_TRUE(shell.answers("last")) << shell.screen();
  }
}

TEST_P(ExecJob, EnteredProgramIsAJobAsAnyOther) {
  const auto host = start("h", "sleep 601");
  std::string enter;
  for (const std::string& word : by_caller({shmifctl_path(), "enter", bus(), "h", "--"})) {
    enter += '\'' + word + "' ";
  }
  Shell shell(mark_);
  ASSERT_TRUE(shell.answers("first"));
  // A shell in there has job control of its own.
  shell.type(enter + "bash --norc --noediting -i\n");
  shell.type("echo inner-$((6*7))-$(hostname)-\n");
  ASSERT_TRUE(shell.shows("inner-42-h-")) << shell.screen();
  shell.type("exit 5\n");
  shell.type("echo status-$?-\n");
  EXPECT_TRUE(shell.shows("status-5-")) << shell.screen();
  // Ctrl-Z stops the job, fg continues it, and Ctrl-C ends it.
  shell.type(enter + "sh -c 'echo up-$((6*7)); exec cat'\n");
  ASSERT_TRUE(shell.shows("up-42")) << shell.screen();
  shell.type("\x1a");
  ASSERT_TRUE(shell.shows("Stopped")) << shell.screen();
  ASSERT_TRUE(shell.answers("mine")) << shell.screen();
  shell.type("fg\n");
  ASSERT_TRUE(shell.shows("exec cat'\r\n")) << shell.screen();
  shell.type("typed\n");
  ASSERT_TRUE(shell.shows("typed\r\ntyped")) << shell.screen();
  shell.type("\x03");
  ASSERT_TRUE(shell.shows("^C") && shell.shows("$ ")) << shell.screen();
  shell.type("echo status-$?-\n");
  EXPECT_TRUE(shell.shows("status-130-")) << shell.screen();
  EXPECT_TRUE(port("h"));
}

TEST_P(ExecJob, InterruptIsForEveryProcessOfTheJob) {
  Shell shell(mark_);
  ASSERT_TRUE(shell.answers("first"));
  std::string enter;
  for (const std::string& word : by_caller({shmifctl_path(), "enter", bus(), "a", "--"})) {
    enter += '\'' + word + "' ";
  }
  // This shell heeds its trap only when its child has ended, so the child must get the signal, too.
  const std::string job =
      "sh -c \"trap 'echo inter''rupted; exit 0' INT; sh -c 'echo rea''dy; exec sleep 601'\" ";
  const auto ends_by = [&](const std::string& keys) {
    EXPECT_TRUE(shell.shows("ready")) << shell.screen();
    shell.type(keys);
    EXPECT_TRUE(shell.shows("interrupted")) << shell.screen();
    EXPECT_TRUE(shell.answers("last")) << shell.screen();
  };
  shell.type(line({}) + job + '\n');
  ends_by("\x03");
  const auto host = start("a", "sleep 601");
  shell.type(enter + job + '\n');
  ends_by("\x03");
  shell.type(enter + job + "&\n");
  ends_by("kill -INT %%\n");
}

}  // namespace
}  // namespace shmif::test
