#include "tools/common/output.hpp"

#include <poll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
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

/// Writes as to a descriptor that blocks. Whoever shares standard output may have set O_NONBLOCK on
/// it, for all of us (node does so), and the C library would drop what finds no room.
ssize_t write_patiently(void* /*unused*/, const char* bytes, std::size_t count) {
  std::size_t done = 0;
  while (done < count) {
    const ssize_t n = ::write(STDOUT_FILENO, bytes + done, count - done);
    pollfd room{STDOUT_FILENO, POLLOUT, 0};
    if (n > 0) {
      done += static_cast<std::size_t>(n);
    } else if (n == 0 || errno != EAGAIN || ::poll(&room, 1, -1) < 0) {
      break;
    }
  }
  return static_cast<ssize_t>(done);  // less than `count`: failed
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
  static bool is_patient = false;
  const cookie_io_functions_t calls{
      .read = nullptr, .write = write_patiently, .seek = nullptr, .close = nullptr};
  std::FILE* const patient = is_patient ? nullptr : ::fopencookie(nullptr, "w", calls);
  if (patient != nullptr) {
    std::fflush(stdout);
    const bool by_line = ::isatty(STDOUT_FILENO) == 1;
    static_cast<void>(std::setvbuf(patient, nullptr, by_line ? _IOLBF : _IOFBF, BUFSIZ));
    stdout = patient;
    is_patient = true;
  }
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
