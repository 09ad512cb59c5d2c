#include "shmif/capture/capture_file.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/signals.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif {
namespace {

constexpr std::size_t kMinBufferBytes = 128U << 10U;
constexpr std::size_t kMaxBufferBytes = 1U << 30U;  // the limit of Record::end
constexpr std::size_t kMinRecordBytes = 16;         // in all formats written here

/// How long a reader may take no bytes after the stop descriptor became readable.
constexpr int kGraceMilliseconds = 500;

/// A new descriptor of standard output that does not block; the old one is shared with others and
/// must not change. -1 for a file, which has no reader to wait for, and if it cannot be made.
int open_again_without_blocking(const struct stat& status) noexcept {
  if (!S_ISFIFO(status.st_mode) && !S_ISCHR(status.st_mode)) return -1;
  // A standard output that was closed is not writable, but opening it again would make it so.
  if ((fcntl(STDOUT_FILENO, F_GETFL) & O_ACCMODE) == O_RDONLY) return -1;
  return open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

}  // namespace

Result<std::unique_ptr<CaptureFile>> CaptureFile::create(const std::string& path,
                                                         const Options& options,
                                                         std::span<const std::byte> header) {
  const bool standard_output = path == "-";
  const std::string what =
      standard_output ? "a capture to standard output" : "capture file \"" + path + "\"";
  if (standard_output && !options.terminal && isatty(STDOUT_FILENO) == 1) {
    return Error(
        Errc::bad_argument,
        "cannot write " + what + ": it is a terminal (redirect it or pipe it into a program)");
  }
  auto file = std::make_unique<CaptureFile>();
  file->path_ = path;
  file->stop_descriptor_ = options.stop_descriptor;
  const bus::OutputRules rules{.what = "cannot write " + what,
                               .replace = options.replace,
                               .stop_descriptor = options.stop_descriptor};
  struct stat status{};
  if (standard_output) {
    if (options.stop_descriptor >= 0 && fstat(STDOUT_FILENO, &status) == 0)
      file->fd_.reset(open_again_without_blocking(status));
    if (!file->fd_) file->fd_.reset(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0));
    if (!file->fd_) return Error::from_errno(errno, rules.what);
  } else {
    auto opened = bus::OutputFile::open_stream(path, rules);
    if (!opened) return std::move(opened).error();
    file->file_ = *std::move(opened);
  }
  file->failed_fd_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!file->failed_fd_) return Error::from_errno(errno, rules.what);
  if (fstat(file->fd(), &status) != 0) return Error::from_errno(errno, rules.what);
  file->regular_ = S_ISREG(status.st_mode);
  file->is_socket_ = S_ISSOCK(status.st_mode);
  file->buffer_.resize(std::clamp(options.buffer_bytes, kMinBufferBytes, kMaxBufferBytes));
  file->records_.reserve(file->buffer_.size() / kMinRecordBytes);

  if (file->regular_ && !standard_output) {
    if (auto started = file->file_.start(header); !started) return std::move(started).error();
    file->file_bytes_ = header.size();
    file->tell_opened();
    return file;
  }
  const base::SignalGuard guard(SIGPIPE, SIGXFSZ);
  std::size_t done = 0;
  if (const int failure = file->write_all(header, done)) {
    return Error::from_errno(failure, rules.what, bus::output_advice(failure));
  }
  file->file_bytes_ = done;
  file->tell_opened();
  return file;
}

void CaptureFile::tell_opened() noexcept {
  opened_ = true;
  debug(Debug::record, [this] {
    return "capture " + path_ + ": opened, " + (regular_ ? "a file" : "no regular file") +
           ", buffer of " + std::to_string(buffer_.size()) + " bytes";
  });
}

CaptureFile::~CaptureFile() {
  if (!opened_) return;
  debug(Debug::record, [this] {
    return "capture " + path_ + ": ended, " + std::to_string(written_) + " frames in " +
           std::to_string(file_bytes_) + " bytes";
  });
}

std::byte* CaptureFile::reserve(std::size_t bytes) noexcept {
  if (buffer_.size() - used_ < bytes || records_.size() == records_.capacity()) flush();
  if (failure_ != 0 || buffer_.size() - used_ < bytes) return nullptr;
  return &buffer_[used_];
}

void CaptureFile::commit(std::size_t bytes, Holds holds) noexcept {
  used_ += bytes;
  records_.push_back({.end = static_cast<std::uint32_t>(used_) & 0x7fffffffU,
                      .is_frame = holds == Holds::frame ? 1U : 0U});
}

void CaptureFile::flush() noexcept {
  if (failure_ != 0 || used_ == 0) return;
  std::size_t done = 0;
  {
    const base::SignalGuard guard(SIGPIPE, SIGXFSZ);
    failure_ = write_all({buffer_.data(), used_}, done);
  }
  std::size_t whole = 0;
  for (const Record& record : records_) {
    if (record.end > done) break;
    whole = record.end;
    written_ += record.is_frame;
  }
  file_bytes_ += whole;
  if (failure_ != 0) {
    debug(Debug::record, [this] { return "capture " + path_ + ": " + status().error().message; });
    cut_back(done - whole);
    eventfd_write(failed_fd_.get(), 1);
  }
  used_ = 0;
  records_.clear();
}

/// Writes all of `bytes`, also to a descriptor that does not block. Result: 0 or errno. In both
/// cases `done` counts the bytes that were written.
int CaptureFile::write_all(std::span<const std::byte> bytes, std::size_t& done) noexcept {
  done = 0;
  while (done < bytes.size()) {
    const std::byte* const from = bytes.data() + done;
    const std::size_t left = bytes.size() - done;
    const bool waits = is_socket_ && stop_descriptor_ >= 0;
    const ssize_t n = waits ? ::send(fd(), from, left, MSG_DONTWAIT) : ::write(fd(), from, left);
    if (n >= 0) {
      done += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      if (!wait_for_room()) return ETIMEDOUT;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

/// Result: false if the reader takes no bytes although the program has to stop.
bool CaptureFile::wait_for_room() noexcept {
  for (;;) {
    std::array<pollfd, 2> entries{
        {{fd(), POLLOUT, 0}, {stopped_ ? -1 : stop_descriptor_, POLLIN, 0}}};
    const int ready = poll(entries.data(), entries.size(), stopped_ ? kGraceMilliseconds : -1);
    if (entries[0].revents != 0) return true;
    if (entries[1].revents != 0) stopped_ = true;
    if (ready == 0) return false;
  }
}

/// After a write that failed: removes the first `torn` bytes of the next record from the file.
/// Readers would call such a file damaged.
void CaptureFile::cut_back(std::size_t torn) noexcept {
  const off_t end = regular_ ? lseek(fd(), 0, SEEK_CUR) : -1;
  // If this fails too, the file ends within a record.
  if (end >= 0 && ftruncate(fd(), end - static_cast<off_t>(torn)) != 0) return;
}

std::error_code CaptureFile::report() noexcept {
  if (failure_ == 0) return {};
  if (std::exchange(reported_, true)) return Errc::link_ended;
  return {failure_, std::generic_category()};
}

Result<void> CaptureFile::status() const {
  if (failure_ == 0) return {};
  const std::string what = path_ == "-" ? std::string("cannot write to standard output")
                                        : "cannot write \"" + path_ + '"';
  if (failure_ == ETIMEDOUT && stopped_) {
    return Error(std::error_code(failure_, std::generic_category()),
                 what +
                     ": its reader took nothing for half a second after the end was asked for, "
                     "so the rest is lost");
  }
  return Error::from_errno(failure_, what, bus::output_advice(failure_));
}

}  // namespace shmif
