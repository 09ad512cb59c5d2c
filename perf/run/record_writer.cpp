#include "perf/run/record_writer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "bus/signal_guard.hpp"
#include "bus/unique_fd.hpp"
#include "shmif/bus.hpp"

namespace shmif::perf {
namespace {

// pcapng, draft-ietf-opsawg-pcapng. Blocks and options are padded to four bytes; numbers stand in
// the writer's byte order, which the magic shows.

struct SectionHeader {
  std::uint32_t type = 0x0a0d0d0a;
  std::uint32_t length = 28;
  std::uint32_t byte_order = 0x1a2b3c4d;
  std::uint16_t major = 1;
  std::uint16_t minor = 0;
  std::uint32_t section_bytes[2] = {0xffffffff, 0xffffffff};  // unknown
  std::uint32_t length_again = 28;
};
static_assert(sizeof(SectionHeader) == 28);

struct InterfaceDescription {
  std::uint32_t type = 1;
  std::uint32_t length = 32;
  std::uint16_t link_type = 1;  // LINKTYPE_ETHERNET
  std::uint16_t reserved = 0;
  std::uint32_t snap_bytes = 0;  // no limit
  std::uint16_t resolution_code = 9;
  std::uint16_t resolution_bytes = 1;
  std::uint32_t resolution = 9;  // 10^-9 s, padded
  std::uint32_t end_of_options = 0;
  std::uint32_t length_again = 32;
};
static_assert(sizeof(InterfaceDescription) == 32);

struct EnhancedPacket {
  std::uint32_t type = 6;
  std::uint32_t length = 0;
  std::uint32_t interface = 0;
  std::uint32_t time_high = 0;
  std::uint32_t time_low = 0;
  std::uint32_t captured_bytes = 0;
  std::uint32_t true_bytes = 0;
};
static_assert(sizeof(EnhancedPacket) == 28);

struct Option {
  std::uint16_t code;
  std::uint16_t bytes;
};
constexpr std::uint16_t kComment = 1;
constexpr std::size_t kMostCommentBytes = 100;
constexpr std::size_t kMostBlockBytes =
    sizeof(EnhancedPacket) + kMaxSuperFrameBytes + kMostCommentBytes + 4 * sizeof(std::uint32_t);

constexpr std::size_t padded(std::size_t bytes) noexcept {
  return (bytes + 3) & ~std::size_t{3};
}

}  // namespace

struct RecordWriter::Impl {
  std::string path;
  UniqueFd fd;
  std::vector<std::byte> buffer;
  std::size_t used = 0;
  std::uint64_t written = 0;
  int failure = 0;  // errno
  /// From CLOCK_MONOTONIC to the wall clock, as it was when the file was made: a clock that is set
  /// meanwhile bends no times of a record.
  std::uint64_t epoch_ns = 0;

  void append(const void* from, std::size_t bytes) noexcept {
    std::memcpy(buffer.data() + used, from, bytes);
    std::memset(buffer.data() + used + bytes, 0, padded(bytes) - bytes);
    used += padded(bytes);
  }
  template <class T>
  void append(const T& value) noexcept {
    append(&value, sizeof value);
  }

  void flush() noexcept {
    const bus::SignalGuard guard(SIGPIPE, SIGXFSZ);
    for (std::size_t done = 0; done < used && failure == 0;) {
      const ssize_t n = ::write(fd.get(), buffer.data() + done, used - done);
      if (n >= 0) {
        done += static_cast<std::size_t>(n);
      } else if (errno != EINTR) {
        failure = errno;
      }
    }
    used = 0;
  }
};

RecordWriter::RecordWriter(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
RecordWriter::RecordWriter(RecordWriter&&) noexcept = default;
RecordWriter& RecordWriter::operator=(RecordWriter&& other) noexcept {
  if (this != &other) {
    if (impl_) impl_->flush();
    impl_ = std::move(other.impl_);
  }
  return *this;
}
RecordWriter::~RecordWriter() {
  if (impl_) impl_->flush();
}

Result<RecordWriter> RecordWriter::create(const std::string& path, std::size_t buffer_bytes) {
  if (Bus::open(path)) {
    return Error(Errc::exists, "cannot record into \"" + path +
                                   "\": it is a bus, and would be destroyed (name another file)");
  }
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->fd.reset(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!impl->fd) {
    return Error::from_errno(errno, "cannot record into \"" + path + '"',
                             errno == ENOENT ? "make its directory first" : "");
  }
  impl->buffer.resize(std::max(buffer_bytes, 2 * kMostBlockBytes));
  using namespace std::chrono;
  const auto wall = duration_cast<nanoseconds>(system_clock::now().time_since_epoch());
  const auto monotonic = steady_clock::now().time_since_epoch();
  impl->epoch_ns = static_cast<std::uint64_t>((wall - monotonic).count());
  impl->append(SectionHeader{});
  impl->append(InterfaceDescription{});
  return RecordWriter(std::move(impl));
}

void RecordWriter::put(const FrameView& frame, std::uint64_t sent_ns,
                       std::uint64_t intended_ns) noexcept {
  Impl& impl = *impl_;
  const std::size_t size = std::min(frame.size(), kMaxSuperFrameBytes);
  if (impl.buffer.size() - impl.used < kMostBlockBytes) impl.flush();
  if (impl.failure != 0) return;

  const std::uint64_t intended = intended_ns + impl.epoch_ns;
  const auto late_ns = static_cast<long long>(sent_ns - intended_ns);
  constexpr std::uint64_t kSecond = 1'000'000'000;
  std::array<char, kMostCommentBytes> comment{};
  const int length =
      std::snprintf(comment.data(), comment.size(), "intended %llu.%09llu, sent %lld ns later",
                    static_cast<unsigned long long>(intended / kSecond),
                    static_cast<unsigned long long>(intended % kSecond), late_ns);
  const auto comment_bytes = static_cast<std::size_t>(std::max(0, length));

  const std::uint64_t time = sent_ns + impl.epoch_ns;
  const std::size_t total = sizeof(EnhancedPacket) + padded(size) + sizeof(Option) +
                            padded(comment_bytes) + sizeof(Option) + sizeof(std::uint32_t);
  EnhancedPacket header;
  header.length = static_cast<std::uint32_t>(total);
  header.time_high = static_cast<std::uint32_t>(time >> 32U);
  header.time_low = static_cast<std::uint32_t>(time);
  header.captured_bytes = header.true_bytes = static_cast<std::uint32_t>(size);
  impl.append(header);
  impl.append(frame.bytes.data(), size);
  impl.append(Option{kComment, static_cast<std::uint16_t>(comment_bytes)});
  impl.append(comment.data(), comment_bytes);
  impl.append(Option{0, 0});
  impl.append(header.length);
  ++impl.written;
}

Result<void> RecordWriter::finish() noexcept {
  impl_->flush();
  if (impl_->failure == 0) return {};
  return Error::from_errno(impl_->failure, "cannot record into \"" + impl_->path + '"');
}

std::uint64_t RecordWriter::written() const noexcept {
  return impl_->written;
}

}  // namespace shmif::perf
