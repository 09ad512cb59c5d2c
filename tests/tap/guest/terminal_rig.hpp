#pragma once
// A terminal for a test, and a process of the test that leads its session.

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <string>

#include "base/unique_fd.hpp"

namespace shmif::tap::test {

struct Pty {
  UniqueFd master{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)};
  std::string name;

  Pty() {
    if (master && ::grantpt(master.get()) == 0 && ::unlockpt(master.get()) == 0) {
      name = ::ptsname(master.get());
    }
  }
};

/// Runs `body` in a process that leads the session of a terminal, which is its standard streams.
/// Result: what `body` has to complain about; empty: nothing.
inline std::string on_terminal(const std::function<std::string(Pty&)>& body) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return "no pipe";
  const UniqueFd complaints(pipe[0]);
  UniqueFd said(pipe[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    ::setsid();
    ::signal(SIGHUP, SIG_IGN);
    ::signal(SIGTTOU, SIG_IGN);
    ::alarm(60);
    Pty pty;
    const int terminal = ::open(pty.name.c_str(), O_RDWR | O_CLOEXEC);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(terminal, fd);
    ::close(terminal);
    const std::string complaint = body(pty);
    (void)!::write(said.get(), complaint.data(), complaint.size());
    ::_exit(0);
  }
  said.reset();
  std::string complaint;
  std::array<char, 256> bytes{};
  for (;;) {  // until the child has ended
    const ssize_t count = ::read(complaints.get(), bytes.data(), bytes.size());
    if (count <= 0) break;
    complaint.append(bytes.data(), static_cast<std::size_t>(count));
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return status == 0 ? complaint : complaint + " (status " + std::to_string(status) + ')';
}

inline void set_raw(int terminal, bool raw) {
  termios modes{};
  ::tcgetattr(terminal, &modes);
  if (raw) {
    ::cfmakeraw(&modes);
  } else {
    modes.c_lflag |= ICANON | ECHO;
  }
  ::tcsetattr(terminal, TCSANOW, &modes);
}

inline bool is_raw(int terminal) {
  termios modes{};
  return ::tcgetattr(terminal, &modes) == 0 && (modes.c_lflag & (ICANON | ECHO)) == 0;
}

}  // namespace shmif::tap::test
