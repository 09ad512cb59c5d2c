#include "tools/show/terminal.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string_view>

#include "base/text.hpp"
#include "tools/common/command.hpp"

namespace shmif::tools {

namespace {

constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l";  // alternate screen, hidden cursor
constexpr std::string_view kLeave = "\x1b[0m\x1b[?25h\x1b[?1049l";

void put(std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t n = write(STDOUT_FILENO, text.data(), text.size());
    if (n > 0) text.remove_prefix(static_cast<std::size_t>(n));
    if (n >= 0) continue;
    // Either the terminal is gone, or it stands still and the user wants to quit. In the second
    // case, StopSignals::bound_writes() causes EINTR.
    if (errno != EAGAIN) return;
    pollfd room{STDOUT_FILENO, POLLOUT, 0};
    if (poll(&room, 1, -1) < 0) return;
  }
}

sigset_t terminal_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGWINCH);
  sigaddset(&set, SIGTSTP);
  return set;
}

}  // namespace

bool shows_unicode() {
  // The first of these that is not empty applies (POSIX, environment variables, 8.2).
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* const value = std::getenv(name);
    if (value == nullptr || *value == 0) continue;
    std::string locale(value);
    std::ranges::transform(locale, locale.begin(), [](unsigned char c) { return std::toupper(c); });
    return locale.ends_with(".UTF-8") || locale.ends_with(".UTF8");
  }
  return false;
}

Screen::Screen() {
  const sigset_t set = terminal_signals();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals_ < 0) throw Exception(Error::from_errno(errno, "cannot make a signalfd"));
  have_keys_ = tcgetattr(STDIN_FILENO, &before_) == 0;
  enter();
}

Screen::~Screen() {
  leave();
  const sigset_t set = terminal_signals();
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  close(signals_);
}

void Screen::enter() {
  if (have_keys_) {
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);  // ISIG stays: Ctrl-C and Ctrl-Z work
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  put(kEnter);
}

void Screen::leave() noexcept {
  put(kLeave);
  if (have_keys_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
}

Screen::Size Screen::size() const noexcept {
  winsize window{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0 || window.ws_row == 0) {
    return {};
  }
  return {window.ws_col, window.ws_row};
}

void Screen::show(const std::string& lines) {
  const Size room = size();
  std::string out = "\x1b[H";
  unsigned row = 0;
  unsigned column = 0;
  bool in_escape = false;
  bool cut = false;  // the last character did not fit
  for (const char c : lines) {
    if (c == '\n') {
      if (++row == room.rows) break;
      // Clears the rest of the line. It does not do so after a full line, because "erase to the
      // end" would remove its last letter.
      out += column < room.columns ? "\x1b[0m\x1b[K\r\n" : "\x1b[0m\r\n";
      column = 0;
      continue;
    }
    if (c == '\x1b') in_escape = true;
    if (in_escape) {
      out += c;
      // An escape sequence takes no columns; a letter ends it.
      if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) in_escape = false;
    } else if (!base::begins_character(c)) {
      if (!cut) out += c;
    } else if (cut = column == room.columns; !cut) {
      out += c;
      ++column;
    }
  }
  // Also clears the rest of the screen.
  out += column < room.columns ? "\x1b[0m\x1b[K\x1b[J" : "\x1b[0m";
  put(out);
}

void Screen::suspend() {
  leave();
  raise(SIGSTOP);  // SIGCONT lets it go on here
  enter();
}

int Screen::next_signal() noexcept {
  signalfd_siginfo info{};
  if (read(signals_, &info, sizeof info) != sizeof info) return 0;
  return static_cast<int>(info.ssi_signo);
}

}  // namespace shmif::tools
