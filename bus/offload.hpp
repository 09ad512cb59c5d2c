#pragma once
// What a network card's offloads do, done in software: finishing checksums and cutting
// super-frames.
//
// The kernel leaves this work to the device when it may, and says in an Offload what is left to do
// (bus/frame.hpp). Between ports that ask for it, frames cross the bus as they are; for every other
// receiver, capture file and machine they are made whole here. The headers come from the kernel,
// or from a neighbour on the bus, and describe bytes that a guest wrote; nothing here trusts them.

#include <cstddef>
#include <cstdint>
#include <span>

#include "bus/frame.hpp"

namespace shmif::bus {

/// The Internet checksum's sum (RFC 1071) of `bytes`, folded to 16 bits, not complemented.
/// Threads: safe. Blocks: never. Units: in the machine's byte order, as memcpy puts it into a
/// frame.
std::uint16_t internet_sum(std::span<const std::byte> bytes, std::uint32_t start = 0) noexcept;

/// Finishes the checksum of one frame: the Internet checksum, or CRC32c where the frame is SCTP.
/// Threads: safe. Blocks: never. Result: false when the header does not fit the frame, which is
/// then unchanged.
bool finish_checksum(std::span<std::byte> frame, const Offload& offload) noexcept;

/// A super-frame stands for at most so many frames (Linux: UDP_MAX_SEGMENTS, 64 in older kernels),
/// unless they are TCP segments that use an MSS of at least kLeastTcpMss, options included (Linux:
/// TCP_MIN_SND_MSS, below which it never goes). So 64 KiB are 1,365 segments of TCP at most, 8,190
/// if each of them has 40 bytes of options. What a device merged from small packets is less than
/// 128 of them, and may be smaller.
inline constexpr std::size_t kMostSegments = 128;
inline constexpr std::size_t kLeastTcpMss = 48;

/// Cuts one super-frame into the frames that it stands for, one at a time, so that the caller may
/// stop when its buffer is full and go on later.
///
/// TCP (RFC 9293): sequence numbers go on, FIN and PSH only in the last frame, CWR only in the
/// first (RFC 3168 section 6.1.2). IPv4: identification counts up. All lengths and checksums are
/// made anew. Threads: one at a time. Blocks: never.
class Segmenter {
 public:
  /// Begins with a super-frame, which must stay until the last segment is out.
  /// Result: false when it is not what its header says, or stands for too many frames; nothing can
  /// be made of it then.
  bool begin(std::span<const std::byte> frame, const Offload& offload) noexcept;

  bool done() const noexcept { return next_ >= frame_.size(); }
  /// How many segments are still to come.
  std::size_t remaining() const noexcept {
    return done() ? 0 : (frame_.size() - next_ + gso_size_ - 1) / gso_size_;
  }
  /// The size of the next segment; 0 when done.
  std::size_t next_bytes() const noexcept;
  /// Writes the next segment into `into`, which has room for next_bytes(). Result: its size.
  std::size_t next(std::span<std::byte> into) noexcept;

 private:
  std::span<const std::byte> frame_;
  std::size_t l3_ = 0;       // where the IP header begins
  std::size_t l4_ = 0;       // where the TCP or UDP header begins
  std::size_t payload_ = 0;  // where the payload begins
  std::size_t next_ = 0;     // where the payload of the next segment begins
  std::size_t gso_size_ = 0;
  std::uint16_t index_ = 0;
  bool v6_ = false;
  bool tcp_ = false;
};

/// How many frames a super-frame stands for; 1 when it is not what its header says.
/// Threads: safe. Blocks: never.
std::size_t segments_of_super_frame(const FrameView& frame) noexcept;

/// How many frames a wire would carry for this one: 1 unless it is a super-frame.
/// Threads: safe. Blocks: never.
inline std::size_t segments_of(const FrameView& frame) noexcept {
  return frame.offload.is_super_frame() ? segments_of_super_frame(frame) : 1;
}

/// Whether a receiver may be given this frame with this work left to do: it is at most `longest`
/// bytes long, or stands for frames of at most `longest` bytes, as Segmenter cuts it.
/// Threads: safe. Blocks: never.
bool is_deliverable(std::span<const std::byte> frame, const Offload& offload,
                    std::size_t longest) noexcept;

}  // namespace shmif::bus
