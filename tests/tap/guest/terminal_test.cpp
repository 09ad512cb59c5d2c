// What a supervisor does with its own terminal: it knows whether all its streams are that terminal,
// gives back what it had, and stops as its job does.

#include <array>
#include <cerrno>
#include <fstream>
#include <functional>

#include "tap/guest/terminal.hpp"
#include "tests/support/handed_on.hpp"
#include "tests/tap/guest/guest_rig.hpp"
#include "tests/tap/guest/terminal_rig.hpp"

namespace shmif::tap::test {
namespace {

TEST(Terminal, OfItNothingReachesAProgramThatItsCallerRuns) {
  EXPECT_EQ(on_terminal([](Pty&) -> std::string {
              const auto before = shmif::test::handed_on();
              const Terminal terminal;
              if (!terminal.is_there()) return "no terminal";
              return shmif::test::handed_on() == before ? "" : "handed on";
            }),
            "");
}

TEST(Terminal, EachStreamIsLookedAtWhetherItIsThisTerminal) {
  EXPECT_EQ(on_terminal([](Pty&) -> std::string {
              return Terminal().is_all_streams() ? "" : "they all are";
            }),
            "");
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    for (const bool other_terminal : {false, true}) {
      EXPECT_EQ(on_terminal([&](Pty&) -> std::string {
                  const Pty other;
                  const char* const path = other_terminal ? other.name.c_str() : "/dev/null";
                  const UniqueFd instead(::open(path, O_RDWR | O_CLOEXEC | O_NOCTTY));
                  ::dup2(instead.get(), fd);
                  return Terminal().is_all_streams() ? "one is not" : "";
                }),
                "")
          << fd << (other_terminal ? ", another terminal" : ", no terminal");
    }
  }
}

TEST(Terminal, HasTheModesAgainThatItHadFirst) {
  EXPECT_EQ(on_terminal([](Pty&) -> std::string {
              Terminal terminal;
              set_raw(STDIN_FILENO, true);
              terminal.note_modes();  // those of the program
              terminal.take_back();
              return is_raw(STDIN_FILENO) ? "those of the program" : "";
            }),
            "");
}

/// Makes a process group of a child the foreground one. Result: the child, which waits for a kill.
pid_t group_in_front(const std::function<void()>& first = [] {}) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setpgid(0, 0);
    first();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // which a change of the user forgets
    for (;;) ::pause();                  // until it is killed
  }
  ::setpgid(child, child);
  ::tcsetpgrp(STDIN_FILENO, child);
  return child;
}

TEST(Terminal, IsTakenBackFromADeadGroupAndLeftToALivingOne) {
  EXPECT_EQ(on_terminal([](Pty&) -> std::string {
              const Terminal terminal;
              sigset_t before;
              sigset_t after;
              ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
              const pid_t other = group_in_front();
              if (terminal.is_ours()) return "it is the other's";
              set_raw(STDIN_FILENO, true);
              terminal.take_back();
              if (::tcgetpgrp(STDIN_FILENO) != other) return "taken from a living group";
              if (!is_raw(STDIN_FILENO)) return "the modes of a living group are changed";
              ::kill(other, SIGKILL);
              ::waitpid(other, nullptr, 0);
              terminal.take_back();
              if (!terminal.is_ours()) return "not taken from a dead group";
              if (is_raw(STDIN_FILENO)) return "the modes are those of the dead";
              ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
              return ::sigismember(&before, SIGTTOU) == ::sigismember(&after, SIGTTOU)
                         ? ""
                         : "the signal mask is another";
            }),
            "");
}

// As the shell of another user that put us into the background.
TEST(Terminal, IsLeftToALivingGroupThatWeMayNotEvenSignal) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: has processes of other users";
  EXPECT_EQ(on_terminal([](Pty&) -> std::string {
              const Terminal terminal;
              std::array<int, 2> pipe{};
              if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return "no pipe";
              const pid_t other = group_in_front([&] {
                if (::setuid(65534) == 0) (void)!::write(pipe[1], "x", 1);
              });
              char byte = 0;
              if (::read(pipe[0], &byte, 1) != 1) return "it is not another user's";
              set_raw(STDIN_FILENO, true);
              if (::seteuid(65533) != 0) return "no other user";
              const bool refused = ::kill(-other, 0) != 0 && errno == EPERM;
              terminal.take_back();
              (void)!::seteuid(0);
              const bool left = ::tcgetpgrp(STDIN_FILENO) == other && is_raw(STDIN_FILENO);
              ::kill(other, SIGKILL);
              ::waitpid(other, nullptr, 0);
              if (!refused) return "it may be signalled";
              return left ? "" : "taken from a living group";
            }),
            "");
}

volatile sig_atomic_t stops_handled = 0;

/// Stops with the handler and the mask of a supervisor. Result: 0, or what is not as before.
int stop_and_look(int number, bool with_group) {
  struct sigaction action{};
  action.sa_handler = [](int) { stops_handled = stops_handled + 1; };
  ::sigaction(number, &action, nullptr);
  sigset_t blocked;
  ::sigemptyset(&blocked);
  for (const int each : {number, SIGCONT}) ::sigaddset(&blocked, each);
  ::sigprocmask(SIG_SETMASK, &blocked, nullptr);
  if (!stop_by(number, with_group)) return 1;
  sigset_t now;
  ::sigprocmask(SIG_SETMASK, nullptr, &now);
  if (::sigismember(&now, number) != 1) return 2;
  struct sigaction handler{};
  ::sigaction(number, nullptr, &handler);
  if (handler.sa_handler != action.sa_handler) return 3;
  return stops_handled == 0 ? 0 : 4;
}

bool is_stopped(pid_t pid) {
  return contents("/proc/" + std::to_string(pid) + "/status").find("State:\tT") !=
         std::string::npos;
}

/// A SIGCONT that is left would continue a command that was suspended anew meanwhile.
TEST(StopBy, StopsItsGroupWhereThatIsMeantAndLeavesSignalsAsTheyWere) {
  for (const auto& [number, with_group] :
       {std::pair{SIGTSTP, false}, std::pair{SIGTTIN, true}, std::pair{SIGTTOU, true}}) {
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // it may still be stopped
      ::setpgid(0, 0);
      const pid_t member = ::fork();
      if (member == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) ::pause();  // until its parent ends
      }
      (void)!::write(pipe[1], &member, sizeof member);
      const int code = stop_and_look(number, with_group);
      ::kill(member, SIGKILL);
      ::_exit(code);
    }
    pid_t member = -1;
    ASSERT_EQ(::read(pipe[0], &member, sizeof member), static_cast<ssize_t>(sizeof member));
    for (const int fd : pipe) ::close(fd);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
    ASSERT_TRUE(WIFSTOPPED(status)) << status;
    EXPECT_EQ(WSTOPSIG(status), number);
    if (with_group) {
      EXPECT_TRUE(eventually([&] { return is_stopped(member); })) << number;
    } else {
      EXPECT_FALSE(is_stopped(member));
    }
    ::kill(-child, SIGCONT);
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "the status times 256: 1 the SIGCONT is left, 2 not blocked any more, "
                            "3 another handler, 4 the handler ran";
  }
}

// The kernel stops no group that no shell looks after.
TEST(StopBy, SaysThatTheKernelDidNotStopIt) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setsid();
    sigset_t blocked;
    ::sigemptyset(&blocked);
    for (const int each : {SIGTSTP, SIGCONT}) ::sigaddset(&blocked, each);
    ::sigprocmask(SIG_SETMASK, &blocked, nullptr);
    ::_exit(stop_by(SIGTSTP, false) ? 1 : 7);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

}  // namespace
}  // namespace shmif::tap::test
