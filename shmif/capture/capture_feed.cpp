#include "shmif/capture/capture_feed.hpp"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace shmif {
namespace {

constexpr std::size_t kPieceBytes = 256U << 10U;
constexpr std::size_t kStreamBytes = 64U << 10U;
/// Longer records are left to libpcap, which takes blocks of up to 16 MiB.
constexpr std::size_t kMaxRecordBytes = 17U << 20U;
constexpr std::size_t kMaxBlockBytes = 16U << 20U;  // the limit of libpcap
constexpr std::size_t kMaxInterfaces = 1U << 20U;

constexpr std::uint32_t kPcapMicro = 0xa1b2c3d4;
constexpr std::uint32_t kPcapNano = 0xa1b23c4d;
constexpr std::uint32_t kPcapModified = 0xa1b2cd34;  // its records have longer heads
constexpr std::size_t kPcapHead = 24;
constexpr std::size_t kModifiedRecordHead = 24;
constexpr std::uint32_t kFcsLengthIsThere = 0x04000000;  // in the word of the link type

constexpr std::uint32_t kSectionHeader = 0x0a0d0d0a;
constexpr std::uint32_t kInterfaceDescription = 1;
constexpr std::uint32_t kObsoletePacket = 2;
constexpr std::uint32_t kSimplePacket = 3;
constexpr std::uint32_t kEnhancedPacket = 6;
constexpr std::uint32_t kFeedByteOrder = 0x1a2b3c4d;
constexpr std::uint16_t kPacketFlags = 2;    // epb_flags
constexpr std::uint16_t kInterfaceFcs = 13;  // if_fcslen

std::uint32_t in_other_order(std::uint32_t v) noexcept {
  return v >> 24U | (v >> 8U & 0xff00U) | (v << 8U & 0xff0000U) | v << 24U;
}

}  // namespace

CaptureFeed::CaptureFeed(UniqueFd input, int stop_descriptor)
    : input_(std::move(input)), stop_descriptor_(stop_descriptor), buffer_(kPieceBytes) {
  struct stat status{};
  waits_ =
      fstat(input_.get(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode);
  if (S_ISREG(status.st_mode)) file_bytes_ = static_cast<std::uint64_t>(status.st_size);
}

std::FILE* CaptureFeed::stream() {
  const cookie_io_functions_t calls{
      .read = [](void* self, char* into, std::size_t bytes) -> ssize_t {
        return static_cast<CaptureFeed*>(self)->serve(into, bytes);
      },
      .write = nullptr,
      .seek = nullptr,
      .close = nullptr};
  std::FILE* const file = ::fopencookie(this, "rb", calls);
  // Without a buffer, such a stream would ask for each byte separately.
  if (file != nullptr) std::setvbuf(file, nullptr, _IOFBF, kStreamBytes);
  return file;
}

long CaptureFeed::serve(char* into, std::size_t bytes) noexcept {
  while (begin_at_ == end_at_ && !ended_) {
    if (!fill(IfEmpty::wait)) {
      errno = stopped_ ? EINTR : failure_;
      return -1;
    }
    scan();
  }
  // At most to the end of a record, because bytes in the stream's buffer count as read by libpcap.
  std::size_t size = std::min(bytes, end_at_ - begin_at_);
  if (!ends_.empty())
    size = static_cast<std::size_t>(std::min<std::uint64_t>(size, ends_.front() - served_));
  if (size != 0) std::memcpy(into, &buffer_[begin_at_], size);
  begin_at_ += size;
  served_ += size;
  if (!ends_.empty() && ends_.front() == served_) ends_.pop_front();
  return static_cast<long>(size);
}

/// Reads one piece. Result: false if no bytes are there yet, or after a failure.
bool CaptureFeed::fill(IfEmpty then) noexcept {
  const bool wait = then == IfEmpty::wait;
  // `found_` is false here, or its packet was served: found_end_ need not move.
  const std::size_t done = std::min(begin_at_, scanned_);
  if (done == end_at_ || (end_at_ == buffer_.size() && done != 0)) {
    std::memmove(buffer_.data(), &buffer_[done], end_at_ - done);
    begin_at_ -= done;
    scanned_ -= done;
    end_at_ -= done;
    if (found_) found_end_ = begin_at_;
  } else if (end_at_ == buffer_.size()) {
    try {
      buffer_.resize(2 * buffer_.size());
    } catch (const std::bad_alloc&) {
      failure_ = ENOMEM;
      return false;
    }
  }
  for (;;) {
    if (waits_) {
      std::array<pollfd, 2> entries{{{input_.get(), POLLIN, 0}, {stop_descriptor_, POLLIN, 0}}};
      const int ready = ::poll(entries.data(), entries.size(), wait ? -1 : 0);
      if (wait && entries[1].revents != 0) {
        stopped_ = true;
        return false;
      }
      if (ready < 0 && errno != EINTR) {
        failure_ = errno;
        return false;
      }
      if (entries[0].revents == 0) {
        if (wait) continue;
        return false;
      }
    }
    const ssize_t n = ::read(input_.get(), &buffer_[end_at_], buffer_.size() - end_at_);
    if (n >= 0) {
      ended_ = n == 0;
      end_at_ += static_cast<std::size_t>(n);
      if (begin_.size() < 8) {
        begin_.append(
            reinterpret_cast<const char*>(&buffer_[end_at_ - static_cast<std::size_t>(n)]),
            std::min(8 - begin_.size(), static_cast<std::size_t>(n)));
      }
      return true;
    }
    if (errno == EINTR || (errno == EAGAIN && wait)) continue;
    if (errno != EAGAIN) failure_ = errno;
    return false;
  }
}

bool CaptureFeed::look() noexcept {
  if (found_ && begin_at_ >= found_end_) {
    found_ = false;
    packet_ = {};
  }
  for (;;) {
    scan();
    if (found_ || ended_ || format_ == Format::opaque) return true;
    if (!fill(waits_ ? IfEmpty::give_up : IfEmpty::wait)) return failure_ != 0;
  }
}

/// Walks over the records that have been read, until it has found the next packet.
void CaptureFeed::scan() noexcept {
  // libpcap has read further than any record that was found, so these records are not real.
  if (!found_ && format_ == Format::pcap && begin_at_ > scanned_) format_ = Format::opaque;
  for (bool more = true; more && !found_;) {
    switch (format_) {
      case Format::unknown: more = scan_start(); break;
      case Format::pcap: more = scan_record(); break;
      case Format::pcapng: more = scan_block(); break;
      case Format::opaque: more = false; break;
    }
  }
  if (format_ == Format::opaque) {
    scanned_ = end_at_;
    ends_.clear();
  }
}

bool CaptureFeed::scan_start() noexcept {
  const std::size_t there = end_at_ - scanned_;
  if (there < 4) return false;
  const std::uint32_t magic = word(scanned_);
  if (magic == kSectionHeader) {
    format_ = Format::pcapng;
    return true;
  }
  const auto is = [&](std::uint32_t each) {
    return magic == each || magic == in_other_order(each);
  };
  if (!is(kPcapMicro) && !is(kPcapNano) && !is(kPcapModified)) {
    format_ = Format::opaque;
    return true;
  }
  if (there < kPcapHead) return false;
  swapped_ = magic != kPcapMicro && magic != kPcapNano && magic != kPcapModified;
  if (is(kPcapModified)) record_head_ = kModifiedRecordHead;
  const std::uint32_t link = word(scanned_ + 20);
  if ((link & kFcsLengthIsThere) != 0) file_fcs_ = 2 * (link >> 28U);
  format_ = Format::pcap;
  return step_over(kPcapHead);
}

/// Notes the end of a record. Result: false if there is no memory; then libpcap reads and waits.
bool CaptureFeed::step_over(std::size_t bytes) noexcept {
  try {
    ends_.push_back(served_ - begin_at_ + scanned_ + bytes);
  } catch (const std::bad_alloc&) {
    format_ = Format::opaque;
    return false;
  }
  scanned_ += bytes;
  return true;
}

bool CaptureFeed::scan_record() noexcept {
  const std::size_t there = end_at_ - scanned_;
  if (there < record_head_) return false;
  const std::size_t bytes = record_head_ + word(scanned_ + 8);
  if (bytes > kMaxRecordBytes) {
    format_ = Format::opaque;
    return true;
  }
  if (there < bytes) return false;
  if (!step_over(bytes)) return true;
  packet_ = {.flags = 0, .fcs_bytes = file_fcs_};
  found_ = true;
  found_end_ = scanned_;
  return true;
}

bool CaptureFeed::scan_block() noexcept {
  constexpr std::size_t kLeast = 12;
  const std::size_t there = end_at_ - scanned_;
  if (there < kLeast) return false;
  const std::uint32_t type = word(scanned_);
  if (type == kSectionHeader && word(scanned_ + 8) != kFeedByteOrder) {
    swapped_ = !swapped_;
    beyond_libpcap_ = beyond_libpcap_ || (in_section_ && word(scanned_ + 8) == kFeedByteOrder);
  }
  in_section_ = true;
  const std::size_t bytes = word(scanned_ + 4);
  const std::uint64_t at = served_ - begin_at_ + scanned_;  // in the file
  if (bytes > kMaxBlockBytes && bytes % 4 == 0 && at + bytes <= file_bytes_) beyond_libpcap_ = true;
  if (bytes < kLeast || bytes % 4 != 0 || bytes > kMaxRecordBytes) {
    format_ = Format::opaque;
    return true;
  }
  if (there < bytes) return false;
  const std::size_t block = scanned_;
  if (!step_over(bytes)) return true;
  if (type == kSectionHeader) interface_fcs_.clear();
  if (type == kInterfaceDescription) scan_interface(block, bytes);
  if (type != kEnhancedPacket && type != kSimplePacket && type != kObsoletePacket) return true;
  scan_packet(block, bytes, type);
  found_ = true;
  found_end_ = scanned_;
  return true;
}

/// Calls `found(code, where, length)` for each option in [at, end).
template <class Found>
void CaptureFeed::each_option(std::size_t at, std::size_t end, Found found) const noexcept {
  while (at + 4 <= end) {
    const std::uint16_t code = half(at);
    const std::size_t length = half(at + 2);
    at += 4;
    if (code == 0 || length > end - at) return;
    found(code, at, length);
    at += (length + 3) & ~std::size_t{3};
  }
}

void CaptureFeed::scan_interface(std::size_t block, std::size_t bytes) noexcept {
  std::uint8_t fcs = 0;
  each_option(block + 16, block + bytes - 4,
              [&](std::uint16_t code, std::size_t at, std::size_t length) {
                if (code == kInterfaceFcs && length == 1) fcs = buffer_[at];
              });
  if (interface_fcs_.size() >= kMaxInterfaces) return;
  try {
    interface_fcs_.push_back(fcs);
  } catch (const std::bad_alloc&) {
    format_ = Format::opaque;
  }
}

void CaptureFeed::scan_packet(std::size_t block, std::size_t bytes, std::uint32_t type) noexcept {
  constexpr std::size_t kData = 28;  // of an enhanced and of an obsolete packet
  constexpr std::uint32_t kFcsMask = 0xf;
  constexpr std::uint32_t kFcsShift = 5;
  packet_ = {};
  std::uint32_t interface = 0;
  if (type != kSimplePacket && bytes >= kData + 4) {
    interface = type == kEnhancedPacket ? word(block + 8) : half(block + 8);
    const std::size_t data = (std::size_t{word(block + 20)} + 3) & ~std::size_t{3};
    if (data <= bytes - kData - 4) {
      each_option(block + kData + data, block + bytes - 4,
                  [&](std::uint16_t code, std::size_t at, std::size_t length) {
                    if (code == kPacketFlags && length == 4) packet_.flags = word(at);
                  });
    }
  }
  packet_.fcs_bytes = packet_.flags >> kFcsShift & kFcsMask;
  if (packet_.fcs_bytes == 0 && interface < interface_fcs_.size())
    packet_.fcs_bytes = interface_fcs_[interface];
}

std::uint32_t CaptureFeed::word(std::size_t at) const noexcept {
  std::uint32_t value = 0;
  std::memcpy(&value, &buffer_[at], sizeof value);
  return swapped_ ? in_other_order(value) : value;
}

std::uint16_t CaptureFeed::half(std::size_t at) const noexcept {
  std::uint16_t value = 0;
  std::memcpy(&value, &buffer_[at], sizeof value);
  return swapped_ ? static_cast<std::uint16_t>(value << 8U | value >> 8U) : value;
}

}  // namespace shmif
