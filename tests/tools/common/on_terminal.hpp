#pragma once
// A program on a terminal, as a person sees it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/run_tool.hpp"

namespace shmif::test {

/// A program on a pseudo-terminal of its own. The destructor kills it.
class OnTerminal {
 public:
  OnTerminal(Words argv, unsigned short columns, unsigned short rows) {
    const winsize size{rows, columns, 0, 0};
    pid_ = forkpty(&fd_, nullptr, nullptr, &size);
    if (pid_ == 0) {
      std::vector<char*> words;
      for (std::string& word : argv) words.push_back(word.data());
      words.push_back(nullptr);
      execvp(words[0], words.data());
      _exit(127);
    }
    if (pid_ < 0) throw std::runtime_error("forkpty");
    // Our own hold on the terminal, to look at its settings when the program has gone.
    std::array<char, 128> name{};
    ptsname_r(fd_, name.data(), name.size());
    slave_ = open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC);
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;
  ~OnTerminal() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(slave_);
    close(fd_);
  }

  bool reads_whole_lines() const {
    termios settings{};
    tcgetattr(slave_, &settings);
    return (settings.c_lflag & ICANON) != 0 && (settings.c_lflag & ECHO) != 0;
  }
  void type(const std::string& keys) const {
    ASSERT_EQ(write(fd_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }
  void signal(int number) const { ::kill(pid_, number); }
  void resize(unsigned short columns, unsigned short rows) const {
    const winsize size{rows, columns, 0, 0};
    ioctl(fd_, TIOCSWINSZ, &size);
  }
  /// Reads until `text` has come since the last forget(), or nothing for so many tenths of a
  /// second, or other text for a minute.
  testing::AssertionResult wait_for(const std::string& text, int tenths = 300) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    for (int quiet = 0; quiet < tenths && std::chrono::steady_clock::now() < end;) {
      if (contains(seen, text)) break;
      quiet += read_some() ? 0 : 1;
    }
    return contains(seen, text);
  }
  /// Reads until the newest screen has exactly that many lines (one more would scroll the
  /// terminal).
  bool wait_for_screen_of(std::ptrdiff_t lines) {
    for (int quiet = 0; quiet < 300; quiet += read_some() ? 0 : 1) {
      const std::size_t begin = seen.rfind("\x1b[H");
      if (begin == std::string::npos) continue;
      const auto from = seen.begin() + static_cast<std::ptrdiff_t>(begin);
      if (std::count(from, seen.end(), '\n') == lines - 1) return true;
    }
    return false;
  }
  void forget() {
    while (read_some(0)) {
    }
    seen.clear();
  }
  /// As if Ctrl-S were typed: who writes to it, waits.
  void stand_still() const { tcflow(slave_, TCOOFF); }
  /// The exit code, or 128 plus the signal; negative when it does not end, or only stops.
  int status(int flags = 0, int looks = 3000) {
    int status = 0;
    for (int i = 0; i < looks; ++i) {
      read_some(10);
      const pid_t done = waitpid(pid_, &status, WNOHANG | flags);
      if (done != pid_) continue;
      if (WIFSTOPPED(status)) return -2;
      pid_ = -1;
      while (read_some(0)) {
      }
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return -1;
  }
  /// As status(), of a program that gives up what it writes when its alarm comes, after a second.
  /// The test does not wait for that.
  int status_with_alarms() {
    int status = -1;
    for (int i = 0; i < 3000 && status == -1; ++i) {
      signal(SIGALRM);
      status = this->status(0, 1);
    }
    return status;
  }

  std::string seen;

 private:
  bool read_some(int milliseconds = 100) {
    pollfd entry{fd_, POLLIN, 0};
    if (poll(&entry, 1, milliseconds) <= 0 || (entry.revents & POLLIN) == 0) return false;
    std::array<char, 8192> buffer;
    const ssize_t n = read(fd_, buffer.data(), buffer.size());
    if (n <= 0) return false;
    seen.append(buffer.data(), static_cast<std::size_t>(n));
    return true;
  }

  int fd_ = -1;
  int slave_ = -1;
  pid_t pid_ = -1;
};

// A pseudo-terminal in the place of the test's own standard streams, for parts of the tools that
// write to a terminal.

/// Puts a pseudo-terminal in the place of some standard streams of the test while it lives. So
/// nothing may be expected meanwhile if standard output is one of them, for a failure would be
/// printed there.
class BorrowedTerminal {
 public:
  BorrowedTerminal(unsigned short columns, unsigned short rows,
                   const std::vector<int>& streams = {STDIN_FILENO, STDOUT_FILENO}) {
    std::fflush(stdout);
    const winsize size{rows, columns, 0, 0};
    if (openpty(&master_, &slave_, nullptr, nullptr, &size) != 0)
      throw std::runtime_error("openpty");
    termios now = settings();
    now.c_oflag &= ~static_cast<tcflag_t>(OPOST);  // what is written arrives as it is
    tcsetattr(slave_, TCSANOW, &now);
    for (const int stream : streams) {
      saved_.emplace_back(stream, fcntl(stream, F_DUPFD_CLOEXEC, 3));
      dup2(slave_, stream);
    }
  }
  BorrowedTerminal(const BorrowedTerminal&) = delete;
  BorrowedTerminal& operator=(const BorrowedTerminal&) = delete;
  ~BorrowedTerminal() {
    for (const auto& [stream, was] : saved_) {
      dup2(was, stream);
      close(was);
    }
    close(slave_);
    close(master_);
  }
  /// What was written since the last call.
  std::string seen() const {
    std::string all;
    for (pollfd entry{master_, POLLIN, 0}; poll(&entry, 1, 0) > 0;) {
      std::array<char, 4096> buffer;
      const ssize_t n = read(master_, buffer.data(), buffer.size());
      if (n <= 0) break;
      all.append(buffer.data(), static_cast<std::size_t>(n));
    }
    return all;
  }
  void resize(unsigned short columns, unsigned short rows) const {
    const winsize size{rows, columns, 0, 0};
    ioctl(master_, TIOCSWINSZ, &size);
  }
  termios settings() const {
    termios now{};
    tcgetattr(slave_, &now);
    return now;
  }

 private:
  int master_ = -1;
  int slave_ = -1;
  std::vector<std::pair<int, int>> saved_;
};

}  // namespace shmif::test
