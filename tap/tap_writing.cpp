#include "tap/tap_writing.hpp"

#include <linux/fs.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "bus/atomics.hpp"
#include "bus/network_bytes.hpp"
#include "bus/offload.hpp"

namespace shmif::tap {
namespace {

using bus::get16;
using bus::get8;
using bus::kIpv4MinBytes;
using bus::kIpv6Bytes;
using bus::kUdpBytes;
using bus::put16;
using Bytes = std::span<const std::byte>;

constexpr std::size_t kIp = kEthernetHeaderBytes;  // where the IP header begins
constexpr std::size_t kUdpChecksumOffset = 6;
constexpr std::size_t kMaxPacketBytes = 0xffff;
constexpr unsigned kDontFragment = 0x4000;
constexpr unsigned kFragment = 0x3fff;  // more fragments, and the offset

bool same_bytes(Bytes a, Bytes b, std::size_t from, std::size_t to) {
  return std::memcmp(a.data() + from, b.data() + from, to - from) == 0;
}

/// An unfinished checksum is the sum of a pseudo header. Returns it for another length in that
/// header.
unsigned sum_with_length(unsigned sum, std::size_t old_bytes, std::size_t new_bytes) {
  std::size_t with = sum + (0xffff - old_bytes) + new_bytes;  // one's complement
  while (with > 0xffff) with = (with & 0xffff) + (with >> 16U);
  return static_cast<unsigned>(with);
}

/// Where the UDP header begins in a frame that may be part of a run; 0 for any other frame.
std::size_t udp_of(const FrameView& frame) {
  const Bytes b = frame.bytes;
  const Offload& left = frame.offload;
  if (left.flags != Offload::kNeedsChecksum || left.is_super_frame() ||
      left.csum_offset != kUdpChecksumOffset)
    return 0;
  const std::size_t udp = left.csum_start;
  if (udp != kIp + kIpv4MinBytes && udp != kIp + kIpv6Bytes) return 0;
  if (b.size() <= udp + kUdpBytes) return 0;  // also if there is no payload
  // Frames to a group may also go to packet sockets, where a super-frame is one packet. DHCP
  // clients read such sockets.
  if (frame.destination().is_group()) return 0;
  const std::size_t packet_bytes = b.size() - kIp;
  if (udp == kIp + kIpv4MinBytes) {
    if (get16(b, 12) != 0x0800 || get8(b, kIp) != 0x45 || get16(b, kIp + 2) != packet_bytes ||
        (get16(b, kIp + 6) & kFragment) != 0 || get8(b, kIp + 9) != IPPROTO_UDP ||
        bus::internet_sum(b.subspan(kIp, kIpv4MinBytes)) != 0xffff)
      return 0;
  } else if (get16(b, 12) != 0x86dd || get8(b, kIp) >> 4U != 6 ||
             get16(b, kIp + 4) != packet_bytes - kIpv6Bytes || get8(b, kIp + 6) != IPPROTO_UDP) {
    return 0;
  }
  if (get16(b, udp + 4) != b.size() - udp || get16(b, udp + kUdpChecksumOffset) == 0) return 0;
  return udp;
}

/// Whether `next` is the piece number `index` that the kernel makes when it splits a run that
/// begins with `first`. Both may be part of a run, with UDP headers in the same place.
bool is_piece(Bytes first, Bytes next, std::size_t udp, std::size_t index) {
  if (!same_bytes(first, next, 0, kIp)) return false;
  if (udp == kIp + kIpv4MinBytes) {
    // All fields but the length, the identification and the checksum.
    if (!same_bytes(first, next, kIp, kIp + 2) || !same_bytes(first, next, kIp + 6, kIp + 10) ||
        !same_bytes(first, next, kIp + 12, udp))
      return false;
    const std::size_t number = (get16(first, kIp + 4) + index) & 0xffff;
    if ((get16(first, kIp + 6) & kDontFragment) == 0 && get16(next, kIp + 4) != number)
      return false;
  } else if (!same_bytes(first, next, kIp, kIp + 4) || !same_bytes(first, next, kIp + 6, udp)) {
    return false;
  }
  const std::size_t checksum = udp + kUdpChecksumOffset;
  return same_bytes(first, next, udp, udp + 4) &&
         get16(next, checksum) ==
             sum_with_length(get16(first, checksum), first.size() - udp, next.size() - udp);
}

void set_head(Bytes first, std::size_t udp, std::size_t payload_bytes, MergedHead& head) {
  const std::size_t header_bytes = udp + kUdpBytes;
  Offload offload;
  offload.flags = Offload::kNeedsChecksum;
  offload.gso_type = Offload::kGsoUdp;
  offload.header_bytes = static_cast<std::uint16_t>(header_bytes);
  offload.gso_size = static_cast<std::uint16_t>(first.size() - header_bytes);
  offload.csum_start = static_cast<std::uint16_t>(udp);
  offload.csum_offset = kUdpChecksumOffset;
  head.size = sizeof offload + header_bytes;
  std::memcpy(head.bytes.data(), &offload, sizeof offload);

  const std::span<std::byte> to = std::span(head.bytes).subspan(sizeof offload, header_bytes);
  std::memcpy(to.data(), first.data(), header_bytes);
  const std::size_t udp_bytes = kUdpBytes + payload_bytes;
  if (udp == kIp + kIpv4MinBytes) {
    put16(to, kIp + 2, kIpv4MinBytes + udp_bytes);
    put16(to, kIp + 10, 0);
    const auto checksum =
        static_cast<std::uint16_t>(~bus::internet_sum(to.subspan(kIp, kIpv4MinBytes)));
    std::memcpy(to.data() + kIp + 10, &checksum, sizeof checksum);
  } else {
    put16(to, kIp + 4, udp_bytes);
  }
  put16(to, udp + 4, udp_bytes);
  const std::size_t field = udp + kUdpChecksumOffset;
  put16(to, field, sum_with_length(get16(first, field), first.size() - udp, udp_bytes));
}

}  // namespace

bool BatchWriter::open() noexcept {
  io_uring_params params{};
  fd_.reset(static_cast<int>(::syscall(SYS_io_uring_setup, kMaxFrames, &params)));  // close-on-exec
  if (!fd_ || (params.features & IORING_FEAT_SINGLE_MMAP) == 0) {
    close();
    return false;
  }
  const std::size_t size =
      std::max(params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe),
               params.sq_off.array + params.sq_entries * sizeof(std::uint32_t));
  rings_ = base::RingMemory(fd_.get(), size, IORING_OFF_SQ_RING);
  entries_ = base::RingMemory(fd_.get(), params.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES);
  if (!rings_ || !entries_) {
    close();
    return false;
  }
  sq_tail_ = params.sq_off.tail;
  sq_array_ = params.sq_off.array;
  sq_mask_ = params.sq_entries - 1;
  cq_head_ = params.cq_off.head;
  cq_tail_ = params.cq_off.tail;
  cq_entries_ = params.cq_off.cqes;
  cq_mask_ = params.cq_entries - 1;
  return true;
}

void BatchWriter::close() noexcept {
  rings_ = base::RingMemory();
  entries_ = base::RingMemory();
  fd_.reset();
}

std::size_t BatchWriter::write(int fd, std::span<const std::span<const iovec>> frames,
                               std::span<std::int32_t> results) noexcept {
  if (!fd_) return 0;
  const auto count = static_cast<unsigned>(std::min<std::size_t>(frames.size(), kMaxFrames));
  auto& tail = rings_.at<std::uint32_t>(sq_tail_);
  const std::uint32_t begin = bus::load_relaxed(tail);
  for (unsigned i = 0; i < count; ++i) {
    const std::uint32_t at = (begin + i) & sq_mask_;
    auto& entry = entries_.at<io_uring_sqe>(at * sizeof(io_uring_sqe));
    entry = {};
    entry.opcode = IORING_OP_WRITEV;
    entry.fd = fd;
    entry.addr = reinterpret_cast<std::uintptr_t>(frames[i].data());
    entry.len = static_cast<std::uint32_t>(frames[i].size());
    entry.off = static_cast<std::uint64_t>(-1);  // a device has no position
    entry.rw_flags = RWF_NOWAIT;                 // otherwise a write without room is deferred
    entry.user_data = i;
    rings_.at<std::uint32_t>(sq_array_ + at * sizeof(std::uint32_t)) = at;
  }
  bus::store_release(tail, begin + count);  // the kernel reads the entries after this
  long submitted = 0;
  do {
    submitted =
        ::syscall(SYS_io_uring_enter, fd_.get(), count, count, IORING_ENTER_GETEVENTS, nullptr, 0);
  } while (submitted < 0 && errno == EINTR);
  // No write waits, so all that were submitted are done.
  const std::size_t written = take_completions(results.first(count));
  const bool knows_nowait = written == 0 || results.front() != -EOPNOTSUPP;
  // Otherwise the next call would submit the rest, which points to buffers of this call.
  if (written < count || !knows_nowait) close();
  return knows_nowait ? written : 0;
}

/// Result: how many completions there were.
std::size_t BatchWriter::take_completions(std::span<std::int32_t> results) noexcept {
  auto& head = rings_.at<std::uint32_t>(cq_head_);
  const std::uint32_t begin = bus::load_relaxed(head);
  const std::uint32_t end = bus::load_acquire(rings_.at<std::uint32_t>(cq_tail_));
  for (std::uint32_t at = begin; at != end; ++at) {
    const auto& done =
        rings_.at<io_uring_cqe>(cq_entries_ + (at & cq_mask_) * sizeof(io_uring_cqe));
    results[done.user_data] = done.res;
  }
  bus::store_release(head, end);
  return end - begin;
}

std::size_t merge_datagrams(std::span<const FrameView> frames, MergedHead& head) noexcept {
  frames = frames.first(std::min(frames.size(), kMaxMerged));
  const std::size_t udp = frames.size() > 1 ? udp_of(frames[0]) : 0;
  if (udp == 0) return 1;
  const Bytes first = frames[0].bytes;
  const std::size_t header_bytes = udp + kUdpBytes;
  std::size_t payload_bytes = first.size() - header_bytes;
  std::size_t run = 1;
  for (bool last = false; run < frames.size() && !last; ++run) {
    const Bytes next = frames[run].bytes;
    if (udp_of(frames[run]) != udp || next.size() > first.size() ||
        payload_bytes + next.size() - kIp > kMaxPacketBytes || !is_piece(first, next, udp, run))
      break;
    payload_bytes += next.size() - header_bytes;
    last = next.size() < first.size();
  }
  if (run > 1) set_head(first, udp, payload_bytes, head);
  return run;
}

}  // namespace shmif::tap
