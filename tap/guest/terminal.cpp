#include "tap/guest/terminal.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
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

/// How often we check whether we are in the foreground now.
constexpr std::chrono::nanoseconds kLookAgain = std::chrono::milliseconds(250);

UniqueFd duplicate(int fd) {
  return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

/// Opens the terminal again, for output, if `fd` can only read it.
UniqueFd open_for_output(int fd) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return UniqueFd(::open(path.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
}

bool is_of_our_session(const UniqueFd& terminal) {
  return ::tcgetsid(terminal.get()) == ::getsid(0);
}

}  // namespace

Terminal::Terminal() : file_(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)) {
  note_modes();
}

bool Terminal::is_ours() const {
  return file_ && ::tcgetpgrp(file_.get()) == ::getpgrp();
}

void Terminal::note_modes() {
  if (!has_modes_ && is_ours()) has_modes_ = ::tcgetattr(file_.get(), &modes_) == 0;
}

bool Terminal::is_all_streams() const {
  if (!file_) return false;
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::tcgetsid(fd) != ::getsid(0)) return false;
  }
  return true;
}

void Terminal::take_back() const {
  if (!has_modes_) return;  // it was never ours
  const pid_t group = ::tcgetpgrp(file_.get());
  if (group <= 0) return;
  // Another living group has the terminal by right: the shell that put us into the background.
  const bool ours = group == ::getpgrp();
  if (!ours && (::kill(-group, 0) == 0 || errno != ESRCH)) return;
  sigset_t output;
  sigset_t before;
  ::sigemptyset(&output);
  ::sigaddset(&output, SIGTTOU);
  ::pthread_sigmask(SIG_BLOCK, &output, &before);
  if (!ours) ::tcsetpgrp(file_.get(), ::getpgrp());
  // TCSANOW, because output that somebody holds back (Ctrl-S) would make us wait.
  ::tcsetattr(file_.get(), TCSANOW, &modes_);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

bool stop_by(int number, bool with_group) {
  sigset_t stop;
  ::sigemptyset(&stop);
  ::sigaddset(&stop, number);
  struct sigaction plain{};
  struct sigaction before{};
  plain.sa_handler = SIG_DFL;
  ::sigaction(number, &plain, &before);
  with_group ? ::kill(0, number) : ::raise(number);
  ::pthread_sigmask(SIG_UNBLOCK, &stop, nullptr);  // stops here
  ::pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  ::sigaction(number, &before, nullptr);
  // The SIGCONT that ended the stop is blocked and pending. Take it now, because otherwise it would
  // be read later, perhaps after the command has been stopped again. A SIGCONT from before the stop
  // is not pending: the stop discarded it.
  sigset_t continued;
  ::sigemptyset(&continued);
  ::sigaddset(&continued, SIGCONT);
  const timespec now{};
  return ::sigtimedwait(&continued, nullptr, &now) == SIGCONT;
}

/// Finds the terminals among our standard streams. For output, standard output is preferred to
/// standard error, and both to standard input.
void TerminalRelay::find_terminals() {
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO, STDIN_FILENO}) {
    if (::isatty(fd) != 1) continue;
    const int access = ::fcntl(fd, F_GETFL) & O_ACCMODE;
    if (fd == STDIN_FILENO && access != O_WRONLY) input_ = duplicate(fd);
    if (output_) continue;
    if (access == O_RDONLY) output_ = open_for_output(fd);
    if (!output_) output_ = duplicate(fd);
  }
}

Result<void> TerminalRelay::open(uid_t owner, bool foreground) {
  find_terminals();
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
  // In the background, or in another session, a terminal has the modes that another job set.
  if (foreground && is_of_our_session(output_) && ::tcgetattr(output_.get(), &modes) == 0) {
    ::tcsetattr(slave_.get(), TCSANOW, &modes);
  }
  take_size();
  events_.reset(::epoll_create1(EPOLL_CLOEXEC));
  look_again_.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!events_ || !look_again_) return Error::from_errno(errno, what);
  for (const int each : {master_.get(), look_again_.get()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    if (::epoll_ctl(events_.get(), EPOLL_CTL_ADD, each, &event) != 0) {
      return Error::from_errno(errno, what);
    }
  }
  watch_what_is_due(foreground);
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
  // Bounded, so that signals are handled even if a program never stops writing.
  for (int round = 0; round < 16; ++round) {
    std::array<char, 4096> bytes{};
    const ssize_t count = ::read(master_.get(), bytes.data(), bytes.size());
    if (count <= 0) return;
    write_to_terminal(output_.get(), bytes.data(), static_cast<std::size_t>(count));
  }
}

void TerminalRelay::note_continued() noexcept {
  is_raw_ = false;
  take_size();  // SIGWINCH went to the job that was in the foreground
}

void TerminalRelay::pass_input(bool foreground) {
  if (!input_) return;
  if (foreground && !is_raw_) make_input_raw();
  is_raw_ = foreground;
  pollfd entry{input_.get(), POLLIN, 0};
  const bool ready = pending_.empty() && ::poll(&entry, 1, 0) > 0;
  if (ready && (entry.revents & POLLHUP) != 0) {
    end_input();
    lose_input();
  } else if (ready && foreground) {
    read_input();
  }
  if (pending_.empty()) return;
  const ssize_t wrote = ::write(master_.get(), pending_.data(), pending_.size());
  if (wrote > 0) pending_.erase(0, static_cast<std::size_t>(wrote));
}

/// Makes our terminal raw, so that the program's terminal interprets the keys.
void TerminalRelay::make_input_raw() const {
  termios modes{};
  // Terminal::take_back() restores the modes only of our session's terminal.
  if (!is_of_our_session(input_) || ::tcgetattr(input_.get(), &modes) != 0) return;
  ::cfmakeraw(&modes);
  ::tcsetattr(input_.get(), TCSANOW, &modes);
}

void TerminalRelay::read_input() {
  std::array<char, 1024> bytes{};
  const ssize_t count = ::read(input_.get(), bytes.data(), bytes.size());
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count > 0) pending_.assign(bytes.data(), static_cast<std::size_t>(count));
  // If a terminal interprets keys itself, it turns the end-of-input key into an empty read, or into
  // a line without an end.
  termios modes{};
  const bool has_lines = ::tcgetattr(input_.get(), &modes) == 0 && (modes.c_lflag & ICANON) != 0;
  const bool is_whole = count == static_cast<ssize_t>(bytes.size()) || pending_.ends_with('\n');
  if (count <= 0 || (has_lines && !is_whole)) end_input();
  if (count < 0) lose_input();  // if it hung up just now, the next look will find that
}

/// Types the end-of-input key into the program's terminal.
void TerminalRelay::end_input() {
  termios modes{};
  if (::tcgetattr(slave_.get(), &modes) == 0) {
    pending_ += static_cast<char>(modes.c_cc[VEOF]);
  }
}

/// Gives up our terminal, which has hung up.
void TerminalRelay::lose_input() {
  // Our standard streams are duplicates of input_, so the entry would outlive the close below, and
  // report the hang-up for ever.
  (void)::epoll_ctl(events_.get(), EPOLL_CTL_DEL, input_.get(), nullptr);
  input_.reset();
}

void TerminalRelay::watch_what_is_due(bool foreground) {
  epoll_event event{};
  event.events = pending_.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT;
  (void)::epoll_ctl(events_.get(), EPOLL_CTL_MOD, master_.get(), &event);
  // A shell can move a running job into the foreground without telling it, so look again soon. The
  // timer starts again at each look.
  itimerspec soon{};
  if (input_ && !foreground) soon.it_value.tv_nsec = kLookAgain.count();
  (void)::timerfd_settime(look_again_.get(), 0, &soon, nullptr);
  if (!input_) return;
  // epoll always reports hang-ups. In the background we would not handle them, so remove the entry.
  const bool wanted = foreground && pending_.empty();
  event.events = EPOLLIN;
  const int change = wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL;
  (void)::epoll_ctl(events_.get(), change, input_.get(), &event);
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
