#include "tools/common/progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/text.hpp"

namespace shmif::tools {

namespace {

struct Room {
  std::size_t columns = 79;
  unsigned rows = 23;
};

/// The last column and the last row stay empty, because some terminals begin a new line after them.
Room room() {
  winsize window{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col < 2 || window.ws_row < 2) {
    return {};
  }
  return {window.ws_col - std::size_t{1}, window.ws_row - 1U};
}

}  // namespace

unsigned terminal_columns(int output) noexcept {
  if (const char* const wish = std::getenv("COLUMNS")) {
    if (const unsigned long columns = std::strtoul(wish, nullptr, 10);
        columns > 0 && columns < 10'000)
      return static_cast<unsigned>(columns);
  }
  winsize window{};
  if (isatty(output) == 0 || ioctl(output, TIOCGWINSZ, &window) != 0) return 0;
  return window.ws_col;
}

bool shows_colours() noexcept {
  const char* const none = std::getenv("NO_COLOR");
  const char* const terminal = std::getenv("TERM");
  return isatty(STDOUT_FILENO) == 1 && (none == nullptr || *none == 0) && terminal != nullptr &&
         std::string_view(terminal) != "dumb";
}

Progress::Progress() : terminal_(isatty(STDERR_FILENO) == 1), next_(Clock::now()) {}

bool Progress::due() noexcept {
  return terminal_ && Clock::now() >= next_;
}

std::string Progress::to_first_line() const {
  return shown_ > 1 ? "\r\033[" + std::to_string(shown_ - 1) + 'A' : "\r";
}

void Progress::show(const std::string& text) {
  if (!terminal_) return;
  const Room has = room();
  std::string out = to_first_line();
  unsigned rows = 0;
  for (std::size_t at = 0; at <= text.size() && rows < has.rows; ++rows) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    if (rows > 0) out += '\n';
    // Writes the line first and then erases the rest, to avoid flicker.
    const std::string_view line = std::string_view(text).substr(at, end - at);
    out += line.substr(0, base::behind_columns(line, has.columns));
    out += "\033[K";
    at = end + 1;
  }
  out += "\033[J";  // also erases older lines below
  std::fwrite(out.data(), 1, out.size(), stderr);
  shown_ = rows;
  next_ = Clock::now() + std::chrono::milliseconds(250);
}

void Progress::clear() {
  if (shown_ == 0) return;
  const std::string out = to_first_line() + "\033[J";
  std::fwrite(out.data(), 1, out.size(), stderr);
  shown_ = 0;
}

}  // namespace shmif::tools
