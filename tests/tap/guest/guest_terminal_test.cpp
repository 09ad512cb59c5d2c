// A guest on a terminal: what a person types reaches the command once, and jobs can be suspended.

#include <sys/ioctl.h>
#include <termios.h>

#include "tests/tap/guest/guest_rig.hpp"

namespace shmif::tap::test {
namespace {

/// A terminal, and on it a small shell that runs one guest's supervisor as its foreground job.
class TerminalSession {
 public:
  explicit TerminalSession(const Supervised::Options& options)
      : master_(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    EXPECT_EQ(::grantpt(master_.get()), 0);
    EXPECT_EQ(::unlockpt(master_.get()), 0);
    first_modes_ = modes();
    const std::string name = ::ptsname(master_.get());
    std::array<int, 2> news{};
    std::array<int, 2> orders{};
    EXPECT_EQ(::pipe2(news.data(), O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(orders.data(), O_CLOEXEC), 0);
    shell_ = ::fork();
    if (shell_ == 0) {
      ::setsid();
      const int terminal = ::open(name.c_str(), O_RDWR);
      for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(terminal, fd);
      ::close(master_.get());
      if (terminal > STDERR_FILENO) ::close(terminal);
      ::signal(SIGTTOU, SIG_IGN);
      run_shell(options, news[1], orders[0]);
    }
    ::close(news[1]);
    ::close(orders[0]);
    news_.reset(news[0]);
    orders_.reset(orders[1]);
  }
  TerminalSession(const TerminalSession&) = delete;
  TerminalSession& operator=(const TerminalSession&) = delete;
  ~TerminalSession() {
    ::kill(shell_, SIGKILL);
    ::waitpid(shell_, nullptr, 0);
  }

  void type(const std::string& keys) const {
    (void)!::write(master_.get(), keys.data(), keys.size());
  }
  void bring_to_foreground() const { (void)!::write(orders_.get(), "f", 1); }

  /// Waits for `text` on the screen, and forgets the screen up to its end.
  bool shows(const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + kGenerousTime;
    for (;;) {
      const std::size_t at = screen_.find(text);
      if (at != std::string::npos) {
        screen_.erase(0, at + text.size());
        return true;
      }
      if (std::chrono::steady_clock::now() >= deadline || !read_screen(50)) return false;
    }
  }
  /// What the screen shows beyond what shows() took, after a moment without anything new.
  std::string rest() {
    while (read_screen(200) && fresh_) {
    }
    return screen_;
  }

  /// Waits until the shell tells of its job. Result: "stopped", "exit N", or nothing.
  std::string news() const {
    pollfd entry{news_.get(), POLLIN, 0};
    if (::poll(&entry, 1, static_cast<int>(kGenerousTime.count())) <= 0) return {};
    std::array<char, 64> text{};
    const ssize_t n = ::read(news_.get(), text.data(), text.size());
    return n > 0 ? std::string(text.data(), static_cast<std::size_t>(n)) : std::string();
  }
  /// Canonical input, echo and keys that are signals, as a number.
  std::string modes() const {
    termios now{};
    ::tcgetattr(master_.get(), &now);
    return std::to_string(now.c_lflag);
  }
  /// The same, before there was a shell.
  const std::string& first_modes() const { return first_modes_; }
  /// The process group that has the terminal.
  pid_t foreground() const { return ::tcgetpgrp(master_.get()); }
  pid_t supervisor() const {
    const std::vector<pid_t> jobs = children_of(shell_);
    return jobs.size() == 1 ? jobs[0] : -1;
  }

 private:
  [[noreturn]] static void run_shell(const Supervised::Options& options, int news, int orders) {
    const pid_t job = ::fork();
    if (job == 0) {
      ::setpgid(0, 0);
      ::tcsetpgrp(STDIN_FILENO, ::getpid());
      ::signal(SIGTTOU, SIG_DFL);
      ::_exit(Supervised::supervise(options));
    }
    ::setpgid(job, job);
    for (;;) {  // until the job ends
      int status = 0;
      if (::waitpid(job, &status, WUNTRACED) != job) ::_exit(1);
      if (!WIFSTOPPED(status)) {
        const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        (void)::dprintf(news, "exit %d%s", code,
                        ::tcgetpgrp(STDIN_FILENO) == job ? "" : ", terminal lost");
        // The end of a session's leader takes away what is still on the screen.
        char order = 0;
        (void)!::read(orders, &order, 1);
        ::_exit(0);
      }
      ::tcsetpgrp(STDIN_FILENO, ::getpgrp());
      (void)::dprintf(news, "stopped");
      char order = 0;
      if (::read(orders, &order, 1) != 1) ::_exit(1);
      ::tcsetpgrp(STDIN_FILENO, job);
      ::kill(-job, SIGCONT);
    }
  }

  bool read_screen(int milliseconds) {
    fresh_ = false;
    pollfd entry{master_.get(), POLLIN, 0};
    if (::poll(&entry, 1, milliseconds) <= 0) return true;
    std::array<char, 4096> chunk{};
    const ssize_t n = ::read(master_.get(), chunk.data(), chunk.size());
    if (n <= 0) return false;
    screen_.append(chunk.data(), static_cast<std::size_t>(n));
    fresh_ = true;
    return true;
  }

  UniqueFd master_;
  UniqueFd news_;
  UniqueFd orders_;
  pid_t shell_ = -1;
  std::string first_modes_;
  std::string screen_;
  bool fresh_ = false;
};

class GuestTerminal : public ::testing::TestWithParam<Setting> {
 protected:
  void SetUp() override {
    Supervised guest(options({"true"}));
    if (guest.finish() == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
  }
  static Supervised::Options options(std::vector<std::string> command) {
    Supervised::Options o;
    o.guest = guest_running(std::move(command));
    o.caller = GetParam().caller;
    return o;
  }
};

/// Terminals do not care about the device.
std::vector<Setting> veth_settings() {
  std::vector<Setting> chosen;
  for (const Setting& each : settings()) {
    if (each.via == Via::veth) chosen.push_back(each);
  }
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(Each, GuestTerminal, ::testing::ValuesIn(veth_settings()),
                         ::testing::PrintToStringParamName());

TEST_P(GuestTerminal, CommandHasTheTerminal) {
  TerminalSession session(options(shell("test -t 0 && read line && echo \"got <$line>\"")));
  session.type("hello\n");
  EXPECT_TRUE(session.shows("got <hello>"));
  EXPECT_EQ(session.news(), "exit 0");
}

TEST_P(GuestTerminal, InterruptKeyReachesTheCommandExactlyOnce) {
  TerminalSession session(
      options(shell("trap 'echo interrupted' INT; echo ready; while :; do sleep 0.02; done")));
  ASSERT_TRUE(session.shows("ready"));
  // Init is held up meanwhile: were the key forwarded, too, that would come apart from the first
  // time, and not be one pending signal with it.
  const std::vector<pid_t> init = children_of(session.supervisor());
  ASSERT_EQ(init.size(), 1U);
  ::kill(init[0], SIGSTOP);
  session.type("\x03");
  EXPECT_TRUE(session.shows("interrupted"));
  ::kill(init[0], SIGCONT);
  EXPECT_EQ(session.rest().find("interrupted"), std::string::npos) << "a second time";
}

TEST_P(GuestTerminal, InterruptKeyEndsACommandThatDoesNotCare) {
  TerminalSession session(options(shell("echo ready; exec sleep 600")));
  ASSERT_TRUE(session.shows("ready"));
  session.type("\x03");
  EXPECT_EQ(session.news(), "exit 130");
}

TEST_P(GuestTerminal, SuspendKeyStopsTheJobAndForegroundContinuesIt) {
  TerminalSession session(options({"tr", "a-z", "A-Z"}));
  for (int round = 0; round < 10; ++round) {
    session.type("hello\n");
    ASSERT_TRUE(session.shows("HELLO")) << round;
    session.type("\x1a");
    ASSERT_EQ(session.news(), "stopped") << round;
    session.bring_to_foreground();
  }
  session.type("\x04");
  EXPECT_EQ(session.news(), "exit 0");
}

TEST_P(GuestTerminal, CommandThatStopsItselfStopsTheJob) {
  TerminalSession session(options(shell("echo ready; kill -TSTP $$; echo back; exit 4")));
  ASSERT_TRUE(session.shows("ready"));
  EXPECT_EQ(session.news(), "stopped");
  session.bring_to_foreground();
  EXPECT_TRUE(session.shows("back"));
  EXPECT_EQ(session.news(), "exit 4");
}

TEST_P(GuestTerminal, TerminalComesBackFromAShellInTheGuest) {
  if (::access("/bin/bash", X_OK) != 0) GTEST_SKIP() << "no bash here";
  TerminalSession session(options({"bash", "--norc", "-i"}));
  session.type("echo $((6*7))\n");
  EXPECT_TRUE(session.shows("42"));
  // It runs, so the shell has given it the terminal: only then the key is for it.
  session.type("sh -c 'echo up-$((6*7)); exec sleep 600'\n");
  ASSERT_TRUE(session.shows("up-42")) << session.rest();
  session.type("\x1a");
  EXPECT_TRUE(session.shows("Stopped")) << session.rest();
  session.type("exit 5\nexit 5\n");
  EXPECT_EQ(session.news(), "exit 5");
}

TEST_P(GuestTerminal, TerminalComesBackFromAShellThatIsKilled) {
  if (::access("/bin/bash", X_OK) != 0) GTEST_SKIP() << "no bash here";
  TerminalSession session(options({"bash", "--norc", "-i"}));
  session.type("stty -icanon -isig; echo $((6*7))\n");
  ASSERT_TRUE(session.shows("42\r")) << session.rest();
  ASSERT_NE(session.modes(), session.first_modes());
  ::kill(-session.foreground(), SIGKILL);  // the shell made a group of its own
  EXPECT_EQ(session.news(), "exit 137");
  EXPECT_EQ(session.modes(), session.first_modes());
}

TEST_P(GuestTerminal, ScriptsWithJobControlRun) {
  if (::access("/bin/bash", X_OK) != 0) GTEST_SKIP() << "no bash here";
  const std::vector<std::vector<std::string>> scripts = {
      {"bash", "-mc", "sleep 0.01; echo done"},
      {"bash", "-c", "set -m; sleep 0.01; echo done"},
      shell("bash -mc 'sleep 0.01; echo done'; exit 0"),
      {"sh", "-mc", "sleep 0.01; echo done"},
  };
  for (const auto& script : scripts) {
    TerminalSession session(options(script));
    EXPECT_TRUE(session.shows("done")) << script[0] << ' ' << script[2] << session.rest();
    EXPECT_EQ(session.news(), "exit 0") << script[0] << ' ' << script[2];
  }
}

TEST_P(GuestTerminal, ScriptWithJobControlIsSuspendedAndHasTheTerminalAgainWhenContinued) {
  if (::access("/bin/bash", X_OK) != 0) GTEST_SKIP() << "no bash here";
  TerminalSession session(options({"bash", "-mc", "echo ready; read line; echo \"got <$line>\""}));
  ASSERT_TRUE(session.shows("ready"));
  session.type("\x1a");
  ASSERT_EQ(session.news(), "stopped");
  session.bring_to_foreground();
  session.type("hello\n");
  EXPECT_TRUE(session.shows("got <hello>")) << session.rest();
  EXPECT_EQ(session.news(), "exit 0");
}

TEST_P(GuestTerminal, WholeJobLeadsAProcessGroupOfTheGuest) {
  TerminalSession session(options(shell("test $(ps -o pgid= -p $$) = $$ && echo leads")));
  EXPECT_TRUE(session.shows("leads\r")) << session.rest();
}

/// timeout(1) makes a process group for itself, unless it leads one.
TEST_P(GuestTerminal, KeysReachAProgramThatMakesItsOwnProcessGroup) {
  // No shell: one that is about to fork would keep the signal for after its child. No pause(),
  // before which a signal of this moment would be lost.
  TerminalSession session(options({"timeout", "600", "python3", "-c",
                                   "import time\nprint('ready', flush=True)\n"
                                   "while True: time.sleep(0.1)"}));
  ASSERT_TRUE(session.shows("ready")) << session.rest();
  session.type("\x03");
  EXPECT_EQ(session.news(), "exit 130") << session.rest();
}

TEST_P(GuestTerminal, PartOfAPipelineStaysInItsProcessGroup) {
  // Keys are for the others in there, too. The outer group has no number in the guest.
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    Supervised::Options part = options(shell("echo group $(ps -o pgid= -p $$) > /dev/tty"));
    part.before = [stream] { ::dup2(::open("/dev/null", O_RDWR | O_CLOEXEC), stream); };
    TerminalSession session(part);
    EXPECT_TRUE(session.shows("group 0\r")) << stream << session.rest();
  }
}

TEST_P(GuestTerminal, WhatAScriptRunsStaysInItsProcessGroup) {
  Supervised::Options part = options(shell("echo group $(ps -o pgid= -p $$)"));
  part.before = [] {  // goes on as a child of the leader, as what a script runs
    const pid_t supervisor = ::fork();
    if (supervisor == 0) return;
    int status = 0;
    ::waitpid(supervisor, &status, 0);
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
  };
  TerminalSession session(part);
  EXPECT_TRUE(session.shows("group 0\r")) << session.rest();
  EXPECT_EQ(session.news(), "exit 0");
}

TEST_P(GuestTerminal, ASignalIsForTheJobAndNotForADaemonInASessionOfItsOwn) {
  const std::string loop = "while :; do sleep 0.02; done";
  TerminalSession session(options(
      shell("trap 'echo job' USR1; sh -c \"trap 'echo member' USR1; echo one up; " + loop +
            "\" & setsid sh -c \"trap 'echo daemon' USR1; echo two up; " + loop + "\" & " + loop)));
  ASSERT_TRUE(session.shows("up"));
  ASSERT_TRUE(session.shows("up"));
  ::kill(session.supervisor(), SIGUSR1);
  std::string screen;
  EXPECT_TRUE(eventually([&] {
    screen = session.rest();
    return screen.find("job") != std::string::npos && screen.find("member") != std::string::npos;
  })) << screen;
  EXPECT_EQ(screen.find("daemon"), std::string::npos) << screen;
}

/// A guest without a terminal and without interfaces, whose supervisor `serve` is. It is in a
/// process group that its parent could continue. Exit status 96: the supervisor stopped.
Supervised::Options without_terminal(const std::string& script, std::function<void(Guest&)> serve) {
  Supervised::Options o;
  o.guest = guest_running(shell(script));
  o.guest.interfaces.clear();
  o.before = [] {
    ::setsid();
    const pid_t supervisor = ::fork();
    if (supervisor == 0) {
      ::setpgid(0, 0);
      return;
    }
    int status = 0;
    ::waitpid(supervisor, &status, WUNTRACED);
    if (WIFSTOPPED(status)) ::kill(supervisor, SIGKILL);
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 96);
  };
  o.serve = std::move(serve);
  return o;
}
TEST(GuestStops, ByTheStrongestSignalStopNoSupervisorWithoutATerminal) {
  Supervised guest(without_terminal("kill -STOP $$; exit 4", [](Guest& stopped) {
    (void)stopped.release();
    while (true) {  // until it has ended
      pollfd entry{stopped.descriptor(), POLLIN, 0};
      if (::poll(&entry, 1, 200) == 0) stopped.signal(SIGCONT);
      if (const GuestNews news = stopped.dispatch(); news.exit) ::_exit(news.exit->status);
    }
  }));
  const int status = guest.finish();
  if (status == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
  EXPECT_EQ(status, 4);
}

TEST(GuestStops, ThatWereEndedMeanwhileStopNoSupervisor) {
  Supervised guest(without_terminal("kill -TSTP $$; exit 4", [](Guest& stopped) {
    (void)stopped.release();
    pollfd entry{stopped.descriptor(), POLLIN, 0};
    (void)::poll(&entry, 1, static_cast<int>(kGenerousTime.count()));
    ::kill(::getpid(), SIGCONT);  // before it is known whether the command is still stopped
    ::_exit(stopped.wait().status);
  }));
  const int status = guest.finish();
  if (status == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
  EXPECT_EQ(status, 4);
}

// The kernel tells the leader of the session and the foreground process group. The command has left
// that.
TEST(GuestHangUp, OfTheSessionThatTheSupervisorLeadsReachesACommandInASessionOfItsOwn) {
  Pty pty;
  ASSERT_FALSE(pty.name.empty());
  Supervised::Options o;
  o.guest =
      guest_running({"setsid", "sh", "-c",
                     "trap 'echo heard; exit 7' HUP; echo ready; while :; do sleep 0.01; done"});
  o.before = [&] {
    ::close(pty.master.get());  // only the test has it
    ::signal(SIGHUP, SIG_DFL);
    ::setsid();
    (void)::open(pty.name.c_str(), O_RDWR | O_CLOEXEC);  // becomes the terminal of the session
  };
  Supervised guest(o);
  if (!guest.says("ready")) GTEST_SKIP() << "no namespaces here: " << guest.output();
  pty.master.reset();
  EXPECT_TRUE(guest.says("heard")) << guest.output();
  EXPECT_EQ(guest.finish(), 7);
}

}  // namespace
}  // namespace shmif::tap::test
