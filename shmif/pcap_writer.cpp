#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "bus/signal_guard.hpp"
#include "bus/unique_fd.hpp"
#include "bus/wall_clock.hpp"
#include "shmif/pcap_link.hpp"

namespace shmif {
namespace {

// The file format, pcap-savefile(5). Numbers stand in the writer's byte order, which the magic
// shows.

struct FileHeader {
  std::uint32_t magic = 0xa1b23c4d;  // times in nanoseconds
  std::uint16_t version_major = 2;
  std::uint16_t version_minor = 4;
  std::uint32_t zone = 0;
  std::uint32_t accuracy = 0;
  std::uint32_t snap_bytes = 262144;  // the most that Wireshark accepts
  std::uint32_t link_type = 1;        // LINKTYPE_ETHERNET
};
static_assert(sizeof(FileHeader) == 24);

struct RecordHeader {
  std::uint32_t seconds;
  std::uint32_t nanoseconds;
  std::uint32_t captured_bytes;
  std::uint32_t true_bytes;
};
static_assert(sizeof(RecordHeader) == 16);

constexpr std::size_t kLeastBufferBytes = 128U << 10U;
static_assert(kLeastBufferBytes >= sizeof(RecordHeader) + kMaxFrameBytes);

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

struct PcapWriter::Impl {
  std::string path;
  std::size_t snap_bytes = 0;
  UniqueFd fd;
  UniqueFd never;  // what descriptor() answers: readable only once the writer has failed
  bool regular = false;

  std::mutex mutex;  // guards what follows: a bridge may sleep in one thread and send in another
  std::vector<std::byte> buffer;
  std::size_t used = 0;
  std::size_t buffered_frames = 0;
  std::uint64_t written = 0;
  int failure = 0;        // errno of the write that failed
  bool reported = false;  // and whether the caller has been told

  /// Result: nothing; the failure, the first time; link_ended from then on.
  std::error_code report() noexcept {
    if (failure == 0) return {};
    if (std::exchange(reported, true)) return Errc::link_ended;
    return {failure, std::generic_category()};
  }

  void flush() noexcept {
    if (failure != 0 || used == 0) return;
    std::size_t done = 0;
    {
      const bus::SignalGuard guard(SIGPIPE, SIGXFSZ);
      failure = write_all(fd.get(), {buffer.data(), used}, done);
    }
    if (failure == 0) {
      written += buffered_frames;
    } else {
      cut_back(done);
      eventfd_write(never.get(), 1);
    }
    used = 0;
    buffered_frames = 0;
  }

  /// After a write that took only `done` bytes of the buffer: counts the whole records among them,
  /// and removes the beginning of the next one from the file, which readers would call damaged.
  void cut_back(std::size_t done) noexcept {
    std::size_t whole = 0;
    while (whole + sizeof(RecordHeader) <= done) {
      RecordHeader record;
      std::memcpy(&record, &buffer[whole], sizeof record);
      if (whole + sizeof record + record.captured_bytes > done) break;
      whole += sizeof record + record.captured_bytes;
      ++written;
    }
    const off_t end = regular ? lseek(fd.get(), 0, SEEK_CUR) : -1;
    // Best effort: where it fails too, the file merely ends within a record.
    if (end >= 0 && ftruncate(fd.get(), end - static_cast<off_t>(done - whole)) != 0) return;
  }

  void put(const FrameView& frame) noexcept {
    const std::uint64_t time = frame.time_ns != 0 ? frame.time_ns : bus::wall_clock_ns();
    const std::size_t kept = snap_bytes == 0 ? frame.size() : std::min(snap_bytes, frame.size());
    const RecordHeader record{.seconds = static_cast<std::uint32_t>(time / 1'000'000'000U),
                              .nanoseconds = static_cast<std::uint32_t>(time % 1'000'000'000U),
                              .captured_bytes = static_cast<std::uint32_t>(kept),
                              .true_bytes = frame.truncated()
                                                ? frame.true_bytes
                                                : static_cast<std::uint32_t>(frame.size())};
    std::memcpy(&buffer[used], &record, sizeof record);
    std::memcpy(&buffer[used + sizeof record], frame.bytes.data(), kept);
    used += sizeof record + kept;
    ++buffered_frames;
  }
};

namespace {

Error cannot_open(int number, const std::string& what) {
  const char* advice = number == ENOENT || number == ENOTDIR ? "make its directory first"
                       : number == EACCES                    ? "choose a place where you may write"
                       : number == EISDIR                    ? "it is a directory; name a file"
                                                             : "";
  return Error::from_errno(number, "cannot write " + what, advice);
}

}  // namespace

Result<PcapWriter> PcapWriter::create(const std::string& path, const PcapWriteOptions& options) {
  const bool standard_output = path == "-";
  const std::string what =
      standard_output ? "a capture to standard output" : "capture file \"" + path + "\"";
  if (standard_output && isatty(STDOUT_FILENO) == 1) {
    return Error(
        Errc::bad_argument,
        "cannot write " + what + ": it is a terminal (redirect it or pipe it into a program)");
  }
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->snap_bytes = options.snap_bytes;
  impl->fd.reset(standard_output
                     ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)
                     : open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  impl->never.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!impl->fd) return cannot_open(errno, what);
  if (!impl->never) return Error::from_errno(errno, "cannot write " + what);
  struct stat status{};
  impl->regular = fstat(impl->fd.get(), &status) == 0 && S_ISREG(status.st_mode);
  impl->buffer.resize(std::max(options.buffer_bytes, kLeastBufferBytes));

  FileHeader header;
  if (options.snap_bytes != 0) header.snap_bytes = options.snap_bytes;
  std::size_t done = 0;
  const bus::SignalGuard guard(SIGPIPE, SIGXFSZ);
  if (const int failure = write_all(impl->fd.get(), std::as_bytes(std::span(&header, 1)), done)) {
    return Error::from_errno(failure, "cannot write " + what);
  }
  return PcapWriter(std::move(impl));
}

PcapWriter::PcapWriter(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
PcapWriter::PcapWriter(PcapWriter&&) noexcept = default;
PcapWriter& PcapWriter::operator=(PcapWriter&& other) noexcept {
  if (this != &other) {
    if (impl_) static_cast<void>(flush());  // nobody is there to be told of a full disk
    impl_ = std::move(other.impl_);
  }
  return *this;
}
PcapWriter::~PcapWriter() {
  if (impl_) static_cast<void>(flush());  // nobody is there to be told of a full disk
}

SendResult PcapWriter::send(std::span<const FrameView> frames) noexcept {
  const std::lock_guard lock(impl_->mutex);
  SendResult result;
  for (const FrameView& frame : frames) {
    if (frame.size() < kEthernetHeaderBytes) {
      result.error = Errc::frame_too_short;
    } else if (frame.size() > kMaxFrameBytes) {
      result.error = Errc::frame_too_long;
    } else if (impl_->buffer.size() - impl_->used < sizeof(RecordHeader) + frame.size()) {
      impl_->flush();
    }
    if (!result.error) result.error = impl_->report();
    if (result.error) return result;
    impl_->put(frame);
    ++result.taken;
  }
  return result;
}

ReceiveResult PcapWriter::receive(FrameBatch&) noexcept {
  const std::lock_guard lock(impl_->mutex);
  ReceiveResult result;
  if (impl_->failure != 0) result.error = Errc::link_ended;
  return result;
}

int PcapWriter::descriptor() noexcept {
  return impl_->never.get();
}

WaitHint PcapWriter::prepare_wait() noexcept {
  const std::lock_guard lock(impl_->mutex);
  impl_->flush();
  return {.ready = impl_->failure != 0};
}

void PcapWriter::finish_wait() noexcept {}
std::size_t PcapWriter::max_frame_bytes() noexcept {
  return kMaxFrameBytes;
}
std::string PcapWriter::address() {
  return "pcap:" + impl_->path;
}

std::error_code PcapWriter::flush() noexcept {
  const std::lock_guard lock(impl_->mutex);
  impl_->flush();
  return impl_->report();
}

Result<void> PcapWriter::status() const {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->failure == 0) return {};
  return Error::from_errno(impl_->failure, impl_->path == "-"
                                               ? std::string("cannot write to standard output")
                                               : "cannot write \"" + impl_->path + "\"");
}

std::uint64_t PcapWriter::written() const noexcept {
  const std::lock_guard lock(impl_->mutex);
  return impl_->written;
}

}  // namespace shmif
