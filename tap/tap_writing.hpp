#pragma once
// How a TapLink writes frames: many in one system call, and datagrams of one flow as one.
//
// BatchWriter writes many frames to one device in one system call, through io_uring.
//
// The gain is not in fewer system calls, but in what happens at the end of each. A frame written to
// a TAP device wakes a waiter, and the kernel takes the CPU from the writer when the system call
// returns. Once per batch is enough (docs/decisions.md).

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/shared_memory.hpp"
#include "base/unique_fd.hpp"
#include "bus/frame.hpp"
#include "bus/network_bytes.hpp"

namespace shmif::tap {

/// Threads: one at a time.
class BatchWriter {
 public:
  static constexpr unsigned kMaxFrames = 64;

  /// Result: false if the kernel has no io_uring, or forbids it.
  bool open() noexcept;

  /// Writes `frames`, at most kMaxFrames, in order and each separately, as writev() does to a
  /// non-blocking descriptor. Afterwards the buffers may be changed. Blocks: never. Result: how
  /// many frames from the front were written or tried; results[i] is what writev() returns, or the
  /// negative errno. If the result is smaller than the number of frames, the caller must write the
  /// rest itself, and also all later frames.
  std::size_t write(int fd, std::span<const std::span<const iovec>> frames,
                    std::span<std::int32_t> results) noexcept;

 private:
  void close() noexcept;
  std::size_t take_completions(std::span<std::int32_t> results) noexcept;

  UniqueFd fd_;
  base::RingMemory rings_, entries_;
  // Offsets in rings_.
  std::uint32_t sq_tail_ = 0, sq_array_ = 0, cq_head_ = 0, cq_tail_ = 0, cq_entries_ = 0;
  std::uint32_t sq_mask_ = 0, cq_mask_ = 0;
};

// Merges neighbouring datagrams of one UDP flow into one super-frame. The kernel that receives it
// splits it again: at the socket, or before a device that cannot take it.
//
// For a kernel, a datagram costs more than its bytes do, and a TAP device has no call that takes
// several. A run is merged only if the kernel's pieces will be the frames of the run, byte for
// byte. Two fields may differ: the checksums, which are unfinished before and after, and the
// identification of IPv4 packets that may not be fragmented, which has no meaning (RFC 6864 section
// 4.1).
//
// The headers come from other guests. This code does not trust them: a frame whose headers disagree
// with its length is not merged.

/// What is written before the payloads of a run: an Offload, and the headers of the super-frame.
struct MergedHead {
  static constexpr std::size_t kMaxHeaderBytes =
      kEthernetHeaderBytes + bus::kIpv6Bytes + bus::kUdpBytes;
  std::array<std::byte, sizeof(Offload) + kMaxHeaderBytes> bytes{};
  std::size_t size = 0;

  std::span<const std::byte> used() const noexcept { return std::span(bytes).first(size); }
  /// Where the payload begins in each frame of the run.
  std::size_t payload_at() const noexcept { return size - sizeof(Offload); }
};

/// A super-frame holds at most this many datagrams (Linux: UDP_MAX_SEGMENTS, its first value).
inline constexpr std::size_t kMaxMerged = 64;

/// Looks for a run at the front of `frames`: two or more untagged frames to one station, each with
/// one whole UDP datagram over IPv4 without options or IPv6 without extension headers, an
/// unfinished checksum, and the same headers. All have the same size, but the last may be shorter.
/// Result: the number of frames in the run, and `head` is set. If the first frame must go alone,
/// the result is 1, and `head` is not changed. Call with at least one frame. Threads: safe. Blocks:
/// never.
std::size_t merge_datagrams(std::span<const FrameView> frames, MergedHead& head) noexcept;

}  // namespace shmif::tap
