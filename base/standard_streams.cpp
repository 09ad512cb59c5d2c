#include "base/standard_streams.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace shmif::base {
namespace {

constexpr std::array kStreams{STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};

bool output_was_closed = false;
bool errors_were_closed = false;

bool is_closed(int stream) noexcept {
  return ::fcntl(stream, F_GETFD) < 0 && errno == EBADF;
}

/// Opens a descriptor that cannot be read or written. In a changed root there may be no
/// /dev/null.
int open_nothing(int more_flags) noexcept {
  return ::open("/", O_PATH | more_flags);
}

}  // namespace

void hold_standard_streams() noexcept {
  output_was_closed = false;
  errors_were_closed = false;
  // In ascending order: a file that is opened gets the lowest free number.
  for (const int stream : kStreams) {
    if (!is_closed(stream)) continue;
    if (stream == STDOUT_FILENO) output_was_closed = true;
    if (stream == STDERR_FILENO) errors_were_closed = true;
    // Input and output get the wrong direction on purpose, so that they stay unusable.
    const int flags = stream == STDOUT_FILENO ? O_RDONLY : O_WRONLY;
    if (::open("/dev/null", flags | O_NOCTTY) < 0) (void)open_nothing(0);
  }
}

bool errors_vanish() noexcept {
  return errors_were_closed;
}

void let_lost_output_vanish() noexcept {
  if (!output_was_closed) return;
  const int nowhere = ::open("/dev/null", O_WRONLY | O_NOCTTY | O_CLOEXEC);
  if (nowhere < 0) return;
  (void)::dup2(nowhere, STDOUT_FILENO);
  ::close(nowhere);
}

StandardStreamsTaken::StandardStreamsTaken() noexcept {
  const int before = errno;
  for (const int stream : kStreams) {
    if (!is_closed(stream)) continue;
    const int opened = open_nothing(O_CLOEXEC);
    taken_[static_cast<std::size_t>(stream)] = opened == stream;
    if (opened >= 0 && opened != stream) ::close(opened);  // another thread was faster
  }
  errno = before;
}

StandardStreamsTaken::~StandardStreamsTaken() {
  const int before = errno;
  for (const int stream : kStreams) {
    if (taken_[static_cast<std::size_t>(stream)]) ::close(stream);
  }
  errno = before;
}

}  // namespace shmif::base
