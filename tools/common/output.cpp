#include "tools/common/output.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

namespace shmif::tools {

namespace {

std::string g_work_done;
int g_output_failure = 0;

bool is_null_device(const struct stat& file) {
  constexpr unsigned kMemory = 1;
  constexpr unsigned kNull = 3;
  return S_ISCHR(file.st_mode) && file.st_rdev == makedev(kMemory, kNull);
}

/// Whether `file` is /dev/tty, and standard output is the terminal for which it stands.
bool is_own_terminal(const struct stat& file) {
  constexpr unsigned kTerminals = 5;
  if (!S_ISCHR(file.st_mode) || file.st_rdev != makedev(kTerminals, 0)) return false;
  return ::tcgetsid(STDOUT_FILENO) == ::getsid(0);
}

}  // namespace

void note_done(std::string what) {
  std::signal(SIGPIPE, SIG_IGN);
  g_work_done = std::move(what);
}

int flush_output() noexcept {
  const bool arrived = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  // After a failure, the C library drops what it held, and a later flush has nothing to fail at.
  if (!arrived && g_output_failure == 0) g_output_failure = errno == 0 ? EIO : errno;
  return arrived ? 0 : g_output_failure;
}

std::string lost_output_text(int number) {
  const std::string why = std::string("cannot write to standard output: ") + std::strerror(number);
  return g_work_done.empty() ? why : why + " (" + g_work_done + ')';
}

void begin_output() {
  g_work_done.clear();
  g_output_failure = 0;
}

bool is_standard_output(const std::string& path) {
  if (path == "-") return true;
  struct stat output{};
  struct stat file{};
  if (::fstat(STDOUT_FILENO, &output) != 0 || ::stat(path.c_str(), &file) != 0) return false;
  const bool same = output.st_dev == file.st_dev && output.st_ino == file.st_ino;
  return (same && !is_null_device(output)) || is_own_terminal(file);
}

}  // namespace shmif::tools
