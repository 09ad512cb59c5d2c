#pragma once
// A pseudo-terminal in the place of the test's own standard streams, for parts of the tools that
// write to a terminal.

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace shmif::test {

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
