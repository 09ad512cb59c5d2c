#include "tools/progress.hpp"

#include <unistd.h>

#include <cstdio>

namespace shmif::tools {

Progress::Progress() : terminal_(isatty(STDERR_FILENO) == 1), next_(Clock::now()) {}

bool Progress::due() noexcept {
  return terminal_ && Clock::now() >= next_;
}

void Progress::show(const std::string& text) {
  if (!terminal_) return;
  const std::string line = "\r\033[K" + text;  // to the first column, and clear what stands there
  std::fwrite(line.data(), 1, line.size(), stderr);
  shown_ = true;
  next_ = Clock::now() + std::chrono::milliseconds(250);
}

void Progress::clear() {
  if (shown_) std::fputs("\r\033[K", stderr);
  shown_ = false;
}

}  // namespace shmif::tools
