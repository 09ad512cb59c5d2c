#include "shmif/capture/capture_file.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/signal_guard.hpp"

namespace shmif {
namespace {

constexpr std::size_t kMinBufferBytes = 128U << 10U;
constexpr std::size_t kMaxBufferBytes = 1U << 30U;  // what Record::end can say
constexpr std::size_t kMinRecordBytes = 16;         // of all the formats written here

/// Writes all of `bytes`, also to a descriptor that does not block. Result: 0 or errno; `done`
/// counts what was written either way.
int write_all(int fd, std::span<const std::byte> bytes, std::size_t& done) noexcept {
  done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n >= 0) {
      done += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      pollfd p{.fd = fd, .events = POLLOUT, .revents = 0};
      poll(&p, 1, -1);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
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
  const bus::OutputRules rules{.what = "cannot write " + what, .replace = options.replace};
  if (standard_output) {
    file->fd_.reset(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0));
    if (!file->fd_) return Error::from_errno(errno, rules.what);
  } else {
    auto opened = bus::OutputFile::open_stream(path, rules);
    if (!opened) return std::move(opened).error();
    file->file_ = *std::move(opened);
  }
  file->failed_fd_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!file->failed_fd_) return Error::from_errno(errno, rules.what);
  struct stat status{};
  file->regular_ = fstat(file->fd(), &status) == 0 && S_ISREG(status.st_mode);
  file->buffer_.resize(std::clamp(options.buffer_bytes, kMinBufferBytes, kMaxBufferBytes));
  file->records_.reserve(file->buffer_.size() / kMinRecordBytes);

  if (!standard_output) {
    if (auto started = file->file_.start(header); !started) return std::move(started).error();
    file->file_bytes_ = header.size();
    return file;
  }
  const base::SignalGuard guard(SIGPIPE, SIGXFSZ);
  std::size_t done = 0;
  if (const int failure = write_all(file->fd(), header, done)) {
    return Error::from_errno(failure, rules.what);
  }
  file->file_bytes_ = done;
  return file;
}

std::byte* CaptureFile::reserve(std::size_t bytes) noexcept {
  if (buffer_.size() - used_ < bytes || records_.size() == records_.capacity()) flush();
  if (failure_ != 0 || buffer_.size() - used_ < bytes) return nullptr;
  return &buffer_[used_];
}

void CaptureFile::commit(std::size_t bytes, bool is_frame) noexcept {
  used_ += bytes;
  records_.push_back({.end = static_cast<std::uint32_t>(used_) & 0x7fffffffU,
                      .is_frame = static_cast<std::uint32_t>(is_frame) & 1U});
}

void CaptureFile::flush() noexcept {
  if (failure_ != 0 || used_ == 0) return;
  std::size_t done = 0;
  {
    const base::SignalGuard guard(SIGPIPE, SIGXFSZ);
    failure_ = write_all(fd(), {buffer_.data(), used_}, done);
  }
  std::size_t whole = 0;
  for (const Record& record : records_) {
    if (record.end > done) break;
    whole = record.end;
    written_ += record.is_frame;
  }
  file_bytes_ += whole;
  if (failure_ != 0) {
    cut_back(done - whole);
    eventfd_write(failed_fd_.get(), 1);
  }
  used_ = 0;
  records_.clear();
}

/// After a write that failed: removes the beginning of the next record, `torn` bytes, from the
/// file, which readers would call damaged.
void CaptureFile::cut_back(std::size_t torn) noexcept {
  const off_t end = regular_ ? lseek(fd(), 0, SEEK_CUR) : -1;
  // Best effort: where it fails too, the file merely ends within a record.
  if (end >= 0 && ftruncate(fd(), end - static_cast<off_t>(torn)) != 0) return;
}

std::error_code CaptureFile::report() noexcept {
  if (failure_ == 0) return {};
  if (std::exchange(reported_, true)) return Errc::link_ended;
  return {failure_, std::generic_category()};
}

Result<void> CaptureFile::status() const {
  if (failure_ == 0) return {};
  return Error::from_errno(failure_, path_ == "-" ? std::string("cannot write to standard output")
                                                  : "cannot write \"" + path_ + "\"");
}

}  // namespace shmif
