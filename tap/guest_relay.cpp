#include "tap/guest_relay.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace shmif::tap {
namespace {

void write_to_terminal(int fd, const char* bytes, std::size_t count) {
  while (count > 0) {
    const ssize_t wrote = ::write(fd, bytes, count);
    if (wrote > 0) {
      bytes += wrote;
      count -= static_cast<std::size_t>(wrote);
      continue;
    }
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote == 0 || errno != EAGAIN) return;  // it hung up
    pollfd entry{fd, POLLOUT, 0};
    (void)::poll(&entry, 1, -1);
  }
}

}  // namespace

Result<void> TerminalRelay::open(uid_t owner) {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::isatty(fd) != 1) continue;
    if (fd == STDIN_FILENO) input_.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    // Standard output comes before standard error, and both before standard input.
    if (!output_ || fd == STDOUT_FILENO) output_.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  }
  if (!output_) return {};
  const std::string what = "cannot make a terminal for the program";
  master_.reset(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  if (!master_ || ::grantpt(master_.get()) != 0 || ::unlockpt(master_.get()) != 0) {
    return Error::from_errno(errno, what);
  }
  slave_.reset(::ioctl(master_.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave_) return Error::from_errno(errno, what);
  (void)!::fchown(slave_.get(), owner, static_cast<gid_t>(-1));
  termios modes{};
  if (::tcgetattr(output_.get(), &modes) == 0) ::tcsetattr(slave_.get(), TCSANOW, &modes);
  take_size();
  events_.reset(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  if (!events_ || ::epoll_ctl(events_.get(), EPOLL_CTL_ADD, master_.get(), &event) != 0) {
    return Error::from_errno(errno, what);
  }
  event.events = 0;
  if (input_ && ::epoll_ctl(events_.get(), EPOLL_CTL_ADD, input_.get(), &event) != 0) {
    return Error::from_errno(errno, what);
  }
  return {};
}

void TerminalRelay::pass(bool foreground) {
  if (!events_) return;
  pass_output();
  pass_input(foreground);
  watch_what_is_due(foreground);
}

void TerminalRelay::take_size() const noexcept {
  winsize size{};
  if (master_ && ::ioctl(output_.get(), TIOCGWINSZ, &size) == 0) {
    (void)::ioctl(master_.get(), TIOCSWINSZ, &size);
  }
}

void TerminalRelay::pass_output() {
  // Bounded, so that a program that never stops writing leaves time for signals.
  for (int round = 0; round < 16; ++round) {
    std::array<char, 4096> bytes{};
    const ssize_t count = ::read(master_.get(), bytes.data(), bytes.size());
    if (count <= 0) return;
    write_to_terminal(output_.get(), bytes.data(), static_cast<std::size_t>(count));
  }
}

void TerminalRelay::pass_input(bool foreground) {
  if (!input_) return;
  if (foreground && !is_raw_) {
    // Keys are for the program's terminal to interpret.
    termios modes{};
    // Terminal::take_back() restores those of our session's terminal only.
    const bool ours = ::tcgetsid(input_.get()) == ::getsid(0);
    if (ours && ::tcgetattr(input_.get(), &modes) == 0) {
      ::cfmakeraw(&modes);
      ::tcsetattr(input_.get(), TCSANOW, &modes);
    }
  }
  is_raw_ = foreground;
  pollfd entry{input_.get(), POLLIN, 0};
  if (foreground && pending_.empty() && ::poll(&entry, 1, 0) > 0) {
    std::array<char, 1024> bytes{};
    const ssize_t count = ::read(input_.get(), bytes.data(), bytes.size());
    if (count > 0) pending_.assign(bytes.data(), static_cast<std::size_t>(count));
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) input_.reset();
  }
  if (pending_.empty()) return;
  const ssize_t wrote = ::write(master_.get(), pending_.data(), pending_.size());
  if (wrote > 0) pending_.erase(0, static_cast<std::size_t>(wrote));
}

void TerminalRelay::watch_what_is_due(bool foreground) {
  epoll_event event{};
  event.events = pending_.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT;
  (void)::epoll_ctl(events_.get(), EPOLL_CTL_MOD, master_.get(), &event);
  if (!input_) return;
  // Hang-ups are told in any case: not in the background, where they would not be read.
  const bool wanted = foreground && pending_.empty();
  event.events = EPOLLIN;
  const int change = wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL;
  (void)::epoll_ctl(events_.get(), change, input_.get(), &event);
  if (wanted) (void)::epoll_ctl(events_.get(), EPOLL_CTL_MOD, input_.get(), &event);
}

void clean_environment(uid_t owner) {
  std::vector<std::pair<std::string, std::string>> kept;
  for (char** each = environ; each != nullptr && *each != nullptr; ++each) {
    const std::string entry = *each;
    const std::size_t end = entry.find('=');
    if (end == std::string::npos) continue;
    const std::string name = entry.substr(0, end);
    if (name == "TERM" || name == "LANG" || name.starts_with("LC_")) {
      kept.emplace_back(name, entry.substr(end + 1));
    }
  }
  const passwd* const user = ::getpwuid(owner);
  kept.emplace_back("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  kept.emplace_back("HOME", user != nullptr ? user->pw_dir : "/");
  if (user != nullptr) kept.emplace_back("USER", user->pw_name);
  ::clearenv();
  for (const auto& [name, value] : kept) ::setenv(name.c_str(), value.c_str(), 1);
}

}  // namespace shmif::tap
