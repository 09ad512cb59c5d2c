#include "tools/common/patient_output.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/text.hpp"
#include "tools/common/command.hpp"

namespace shmif::tools {

namespace {

/// A pipe that poll(2) calls writable takes so much without waiting.
constexpr std::size_t kPolledPiece = 4096;
constexpr int kReaderLookMs = 50;

/// Whether a descriptor is the side of a pseudo terminal that a terminal program has. Opened again,
/// it would be a new terminal.
bool is_master_of_terminal(const struct stat& file) {
  constexpr unsigned kTerminals = 5;
  constexpr unsigned kMaster = 2;
  return file.st_rdev == makedev(kTerminals, kMaster);
}

}  // namespace

PatientOutput::PatientOutput(int stream, std::string hint)
    : stream_(stream), hint_(std::move(hint)) {
  struct stat file{};
  if (::fstat(stream, &file) != 0) return;
  if (S_ISSOCK(file.st_mode)) way_ = Way::socket;
  if (S_ISFIFO(file.st_mode) || (S_ISCHR(file.st_mode) && ::isatty(stream) == 1)) {
    // O_NONBLOCK on `stream` itself would hold for all who share it, such as the shell.
    way_ = Way::polled;
    if (is_master_of_terminal(file)) return;
    const std::string name = "/proc/self/fd/" + std::to_string(stream);
    own_.reset(::open(name.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (own_) way_ = Way::own;  // otherwise it has no reader, or belongs to another user
  }
}

void PatientOutput::write(std::string_view line) {
  if (failure_ != 0) return;
  // After a gap, half of the room must be free: few large gaps are better than many small ones.
  const std::size_t room = left_out_ == 0 ? kMaxWaiting : kMaxWaiting / 2;
  if (waiting_.size() + line.size() >= room && !waiting_.empty()) {
    ++left_out_;
    return;
  }
  const bool idle = waiting_.empty();
  tell_left_out();
  waiting_.append(line).append(1, '\n');
  if (idle) flush();
}

void PatientOutput::tell_left_out() {
  if (left_out_ == 0) return;
  waiting_ += program_name();
  waiting_ += ": " + base::counted(std::exchange(left_out_, 0), "line") +
              " left out here, because nobody read them in time" + hint_ + '\n';
}

void PatientOutput::flush() {
  std::size_t written = 0;
  while (failure_ == 0 && written < waiting_.size()) {
    const std::size_t n = write_some(std::string_view(waiting_).substr(written));
    if (n == 0) break;
    written += n;
  }
  waiting_.erase(0, written);
  if (failure_ != 0) waiting_.clear();
  if (waiting_.empty() && left_out_ > 0 && failure_ == 0) {
    tell_left_out();
    flush();
  }
}

/// Result: how many bytes were written; 0 if none can be now, or after a failure.
std::size_t PatientOutput::write_some(std::string_view text) {
  ssize_t n = -1;
  do {
    if (way_ == Way::socket) {
      n = ::send(stream_, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    } else if (way_ == Way::polled) {
      pollfd writable{stream_, POLLOUT, 0};
      if (::poll(&writable, 1, 0) == 0) return 0;
      n = ::write(stream_, text.data(), std::min(text.size(), kPolledPiece));
    } else {
      n = ::write(own_ ? own_.get() : stream_, text.data(), text.size());
    }
  } while (n < 0 && errno == EINTR && way_ != Way::polled);
  if (n > 0) return static_cast<std::size_t>(n);
  if (n < 0 && errno != EAGAIN && errno != EINTR) failure_ = errno;
  return 0;
}

std::uint64_t PatientOutput::give_up() {
  const auto lines = static_cast<std::uint64_t>(std::ranges::count(waiting_, '\n'));
  waiting_.clear();
  return lines + std::exchange(left_out_, 0);
}

void PatientOutput::wait_a_moment() const {
  pollfd writable{wanted(), POLLOUT, 0};
  ::poll(&writable, 1, kReaderLookMs);
}

int PatientOutput::wanted() const noexcept {
  if (waiting_.empty()) return -1;
  return own_ ? own_.get() : stream_;
}

}  // namespace shmif::tools
