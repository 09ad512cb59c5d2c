// What a supervisor does with its own terminal: it knows whether all its streams are that terminal,
// gives back what it had, and stops as its job does.

#include "tap/guest/terminal.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <functional>
#include <set>

#include "tests/support/holdings.hpp"
#include "tests/tap/guest/guest_rig.hpp"

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

// The relay between the terminal of root and a program of another user.

/// What the program reads while the relay passes bytes; "END" where it sees the end of its input.
std::string read_as_program(TerminalRelay& relay, bool foreground = true) {
  ::fcntl(relay.program_end(), F_SETFL, O_NONBLOCK);
  std::array<char, 4096> bytes{};
  ssize_t count = -1;
  const bool came = eventually([&] {
    relay.pass(foreground);
    count = ::read(relay.program_end(), bytes.data(), bytes.size());
    return count >= 0;
  });
  if (!came) return "nothing";
  return count == 0 ? "END" : std::string(bytes.data(), static_cast<std::size_t>(count));
}

bool has_something_to_do(const TerminalRelay& relay, int milliseconds = 0) {
  pollfd entry{relay.descriptor(), POLLIN, 0};
  return ::poll(&entry, 1, milliseconds) > 0;
}

TEST(TerminalRelay, RestsAfterAHangUpAndTheProgramSeesTheEndOfItsInput) {
  for (const bool foreground : {false, true}) {
    EXPECT_EQ(on_terminal([&](Pty& pty) -> std::string {
                TerminalRelay relay;
                if (!relay.open(::getuid(), foreground)) return "not open";
                relay.pass(foreground);
                pty.master.reset();
                for (int i = 0; i < 10; ++i) relay.pass(foreground);
                if (has_something_to_do(relay)) return "it has work for ever";
                const bool seen = read_as_program(relay, foreground) == "END";
                return seen ? "" : "the program does not see it";
              }),
              "")
        << foreground;
  }
}

TEST(TerminalRelay, ModesOfWhoeverIsInTheForegroundAreNotTheProgramsOwn) {
  for (const bool foreground : {false, true}) {
    EXPECT_EQ(on_terminal([&](Pty&) -> std::string {
                set_raw(STDIN_FILENO, true);
                TerminalRelay relay;
                if (!relay.open(::getuid(), foreground)) return "not open";
                return is_raw(relay.program_end()) == foreground ? "" : "wrong modes";
              }),
              "")
        << foreground;
  }
}

TEST(TerminalRelay, TakesModesAndSizeAgainWhenContinued) {
  EXPECT_EQ(on_terminal([](Pty& pty) -> std::string {
              TerminalRelay relay;
              if (!relay.open(::getuid(), true)) return "not open";
              relay.pass(true);
              if (!is_raw(STDIN_FILENO)) return "keys are not for the program";
              // As a shell does whose job was stopped by SIGSTOP.
              set_raw(STDIN_FILENO, false);
              winsize size{33, 77, 0, 0};
              ::ioctl(pty.master.get(), TIOCSWINSZ, &size);
              relay.note_continued();
              relay.pass(true);
              if (!is_raw(STDIN_FILENO)) return "keys are not for the program after fg";
              size = {};
              ::ioctl(relay.program_end(), TIOCGWINSZ, &size);
              return size.ws_row == 33 && size.ws_col == 77 ? "" : "the size is the old one";
            }),
            "");
}

TEST(TerminalRelay, TakesTheKeysEachTimeThatItComesToTheForeground) {
  EXPECT_EQ(on_terminal([](Pty&) -> std::string {
              TerminalRelay relay;
              if (!relay.open(::getuid(), true)) return "not open";
              for (int round = 0; round < 3; ++round) {
                relay.pass(true);
                if (!is_raw(STDIN_FILENO)) return "not for the program, " + std::to_string(round);
                set_raw(STDIN_FILENO, false);  // as a shell does that has the terminal meanwhile
                relay.pass(false);
                if (is_raw(STDIN_FILENO)) return "taken while in the background";
              }
              return "";
            }),
            "");
}

TEST(TerminalRelay, TypesTheKeyThatTheProgramHasForTheEndOfInput) {
  EXPECT_EQ(on_terminal([](Pty& pty) -> std::string {
              TerminalRelay relay;
              if (!relay.open(::getuid(), true)) return "not open";
              termios modes{};
              ::tcgetattr(relay.program_end(), &modes);
              modes.c_cc[VEOF] = '\x18';
              ::tcsetattr(relay.program_end(), TCSANOW, &modes);
              pty.master.reset();
              const std::string got = read_as_program(relay);
              return got == "END" ? "" : got;
            }),
            "");
}

TEST(TerminalRelay, OutputAndSizeAreOfTheFirstStreamThatIsATerminal) {
  for (const int which : {STDOUT_FILENO, STDERR_FILENO}) {
    EXPECT_EQ(on_terminal([&](Pty& pty) -> std::string {
                const Pty other;
                winsize size{33, 77, 0, 0};
                ::ioctl(other.master.get(), TIOCSWINSZ, &size);
                const UniqueFd theirs(::open(other.name.c_str(), O_RDWR | O_CLOEXEC | O_NOCTTY));
                const UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
                ::dup2(nothing.get(), STDOUT_FILENO);
                ::dup2(theirs.get(), which);
                TerminalRelay relay;
                if (!relay.open(::getuid(), true)) return "not open";
                size = {};
                ::ioctl(relay.program_end(), TIOCGWINSZ, &size);
                if (size.ws_row != 33 || size.ws_col != 77) return "the size of another";
                (void)!::write(relay.program_end(), "text", 4);
                std::array<char, 256> bytes{};
                const bool came = eventually([&] {
                  relay.pass(true);
                  return ::read(other.master.get(), bytes.data(), bytes.size()) == 4;
                });
                if (!came) return "no output";
                return ::read(pty.master.get(), bytes.data(), bytes.size()) > 0 ? "on both" : "";
              }),
              "")
        << which;
  }
}

TEST(TerminalRelay, NothingOfItReachesAProgramThatItsCallerRuns) {
  EXPECT_EQ(on_terminal([](Pty&) -> std::string {
              const auto before = shmif::test::handed_on();
              TerminalRelay relay;
              if (!relay.open(::getuid(), true)) return "not open";
              std::string more;
              for (const std::string& each : shmif::test::handed_on()) {
                if (!before.contains(each)) more += each + '\n';
              }
              return more;
            }),
            "");
}

TEST(TerminalRelay, EndOfInputFromTheTerminalOfAnotherSessionIsPassedOn) {
  EXPECT_EQ(on_terminal([](Pty&) -> std::string {
              const Pty other;
              const UniqueFd theirs(::open(other.name.c_str(), O_RDWR | O_CLOEXEC | O_NOCTTY));
              ::dup2(theirs.get(), STDIN_FILENO);
              TerminalRelay relay;
              if (!relay.open(::getuid(), true)) return "not open";
              for (const std::string typed : {"one\n", "\x04", "two\n", "begun\x04"}) {
                (void)!::write(other.master.get(), typed.data(), typed.size());
                std::string expected = typed == "\x04" ? "END" : typed;
                std::erase(expected, '\x04');
                const std::string got = read_as_program(relay);
                if (got != expected) return "typed " + typed + ", read " + got;
              }
              for (int i = 0; i < 10; ++i) relay.pass(true);
              return has_something_to_do(relay) ? "it has work for ever" : "";
            }),
            "");
}

TEST(TerminalRelay, TerminalThatStandardInputOnlyReadsGetsTheOutput) {
  EXPECT_EQ(on_terminal([](Pty& pty) -> std::string {
              const UniqueFd input(::open(pty.name.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
              const UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
              ::dup2(input.get(), STDIN_FILENO);
              ::dup2(nothing.get(), STDOUT_FILENO);
              ::dup2(nothing.get(), STDERR_FILENO);
              TerminalRelay relay;
              if (!relay.open(::getuid(), true)) return "not open";
              (void)!::write(relay.program_end(), "prompt", 6);
              std::array<char, 256> bytes{};
              const bool came = eventually([&] {
                relay.pass(true);
                return ::read(pty.master.get(), bytes.data(), bytes.size()) == 6;
              });
              return came ? "" : "no output";
            }),
            "");
}

TEST(TerminalRelay, TerminalBelongsToTheOwnerOfTheProgram) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives a terminal away";
  EXPECT_EQ(on_terminal([](Pty&) -> std::string {
              TerminalRelay relay;
              if (!relay.open(kStranger, true)) return "not open";
              struct stat now{};
              ::fstat(relay.program_end(), &now);
              return now.st_uid == kStranger ? "" : std::to_string(now.st_uid);
            }),
            "");
}

/// The environment that is left of the caller's for a program of user `owner`.
std::set<std::string> cleaned_environment(uid_t owner) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    ::clearenv();
    for (const char* name : {"TERM", "LANG", "LC_ALL", "LC_TIME", "LANGUAGE", "TERMCAP",
                             "LD_PRELOAD", "SECRET", "PATH", "HOME", "USER"}) {
      ::setenv(name, "of=the caller", 1);
    }
    clean_environment(owner);
    for (char** each = environ; *each != nullptr; ++each) (void)::dprintf(to.get(), "%s\n", *each);
    ::_exit(0);
  }
  to.reset();
  std::string text;
  std::array<char, 4096> chunk{};
  for (ssize_t n = 0; (n = ::read(from.get(), chunk.data(), chunk.size())) > 0;) {
    text.append(chunk.data(), static_cast<std::size_t>(n));
  }
  ::waitpid(child, nullptr, 0);
  std::set<std::string> entries;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) entries.insert(line);
  return entries;
}

TEST(CleanEnvironment, HasTerminalAndLanguageOfTheCallerAndTheRestOfTheUser) {
  const std::set<std::string> stranger{
      "TERM=of=the caller",
      "LANG=of=the caller",
      "LC_ALL=of=the caller",
      "LC_TIME=of=the caller",
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      "HOME=/"};
  EXPECT_EQ(cleaned_environment(kStranger), stranger);
  std::set<std::string> root = stranger;
  root.erase("HOME=/");
  root.insert({"HOME=/root", "USER=root"});
  EXPECT_EQ(cleaned_environment(0), root);
}

TEST(TerminalRelay, WhatTheProgramHasNoRoomForReachesItLater) {
  EXPECT_EQ(on_terminal([](Pty& pty) -> std::string {
              set_raw(STDIN_FILENO, true);
              TerminalRelay relay;
              if (!relay.open(::getuid(), true)) return "not open";
              ::fcntl(relay.program_end(), F_SETFL, O_NONBLOCK);
              std::string typed;
              for (int i = 0; i < 60'000; ++i) typed += std::to_string(i) + '\n';
              std::size_t taken = 0;
              const auto type = [&] {  // pieces of which the last is taken in part
                const std::size_t piece = std::min<std::size_t>(1000, typed.size() - taken);
                const ssize_t count = ::write(pty.master.get(), typed.data() + taken, piece);
                if (count > 0) taken += static_cast<std::size_t>(count);
                relay.pass(true);
              };
              for (std::size_t seen = 0, quiet = 0; quiet < 50; ++quiet) {
                type();
                if (std::exchange(seen, taken) == taken) {
                  ::usleep(1000);
                } else {
                  quiet = 0;
                }
              }
              if (taken == typed.size()) return "there was room for all of it";
              // Keys wait on both sides now. That alone is nothing to do.
              if (has_something_to_do(relay)) return "it does not rest";
              std::string got;
              const auto read_some = [&] {
                std::array<char, 4096> bytes{};
                const ssize_t count = ::read(relay.program_end(), bytes.data(), bytes.size());
                if (count > 0) got.append(bytes.data(), static_cast<std::size_t>(count));
                return count > 0;
              };
              while (read_some()) {
              }
              if (!has_something_to_do(relay, static_cast<int>(kGenerousTime.count()))) {
                return "it does not see that there is room";
              }
              (void)eventually([&] {
                type();
                (void)read_some();
                return got.size() >= typed.size();
              });
              return got == typed ? ""
                                  : "of " + std::to_string(typed.size()) + " bytes came " +
                                        std::to_string(got.size());
            }),
            "");
}

/// The descriptor does not wait for room, and nobody looks at the terminal for a while.
TEST(TerminalRelay, WhatASlowTerminalHasNoRoomForReachesItLater) {
  EXPECT_EQ(on_terminal([](Pty& pty) -> std::string {
              set_raw(STDIN_FILENO, true);
              TerminalRelay relay;
              if (!relay.open(::getuid(), true)) return "not open";
              ::fcntl(STDOUT_FILENO, F_SETFL, O_RDWR | O_NONBLOCK);
              ::fcntl(relay.program_end(), F_SETFL, O_NONBLOCK);
              std::string text;
              for (int i = 0; i < 20'000; ++i) text += std::to_string(i) + ' ';
              std::string seen;
              std::thread person([&] {
                ::usleep(50'000);
                (void)eventually([&] {
                  std::array<char, 4096> bytes{};
                  const ssize_t count = ::read(pty.master.get(), bytes.data(), bytes.size());
                  if (count > 0) seen.append(bytes.data(), static_cast<std::size_t>(count));
                  return seen.size() >= text.size();
                });
              });
              for (std::size_t written = 0; written < text.size();) {
                const ssize_t count = ::write(relay.program_end(), text.data() + written,
                                              std::min<std::size_t>(3000, text.size() - written));
                if (count > 0) written += static_cast<std::size_t>(count);
                relay.pass(true);
              }
              for (int i = 0; i < 100; ++i) relay.pass(true);
              person.join();
              return seen == text ? ""
                                  : "of " + std::to_string(text.size()) + " bytes came " +
                                        std::to_string(seen.size());
            }),
            "");
}

TEST(TerminalRelay, InTheBackgroundKeysAreForWhoeverIsInTheForeground) {
  EXPECT_EQ(on_terminal([](Pty& pty) -> std::string {
              set_raw(STDIN_FILENO, true);
              TerminalRelay relay;
              if (!relay.open(::getuid(), true)) return "not open";
              ::fcntl(relay.program_end(), F_SETFL, O_NONBLOCK);
              (void)!::write(pty.master.get(), "key\n", 4);
              pollfd typed{STDIN_FILENO, POLLIN, 0};
              if (::poll(&typed, 1, static_cast<int>(kGenerousTime.count())) != 1) return "no key";
              for (int i = 0; i < 10; ++i) relay.pass(false);
              std::array<char, 16> bytes{};
              if (::read(relay.program_end(), bytes.data(), bytes.size()) >= 0) return "taken";
              const std::string got = read_as_program(relay, true);
              return got == "key\n" ? "" : got;
            }),
            "");
}

TEST(TerminalRelay, ATerminalOfAnotherSessionKeepsItsModes) {
  EXPECT_EQ(on_terminal([](Pty&) -> std::string {
              const Pty other;
              const UniqueFd theirs(::open(other.name.c_str(), O_RDWR | O_CLOEXEC | O_NOCTTY));
              for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
                ::dup2(theirs.get(), fd);
              TerminalRelay first;
              if (!first.open(::getuid(), true)) return "not open";
              first.pass(true);
              if (is_raw(STDIN_FILENO)) return "nobody would give them back";
              set_raw(STDIN_FILENO, true);
              TerminalRelay second;
              if (!second.open(::getuid(), true)) return "not open";
              return is_raw(second.program_end()) ? "they are those of another job" : "";
            }),
            "");
}

}  // namespace
}  // namespace shmif::tap::test
