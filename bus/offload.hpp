#pragma once
// Does in software what a network card's offloads do: finishes checksums and splits super-frames.
//
// The kernel leaves this work to the device if it may, and an Offload says what is left to do
// (bus/frame.hpp). Ports that ask for such frames get them as they are. For every other receiver
// and for capture files, the frames are finished here. The headers come from the kernel, or from
// another port on the bus, and describe bytes that a guest wrote. This code does not trust them.

#include <cstddef>
#include <cstdint>
#include <span>

#include "bus/frame.hpp"

namespace shmif::bus {

/// The sum of the Internet checksum (RFC 1071) over `bytes`, folded to 16 bits, not complemented.
/// Threads: safe. Blocks: never. Units: in the machine's byte order, as memcpy puts it into a
/// frame.
std::uint16_t internet_sum(std::span<const std::byte> bytes, std::uint32_t start = 0) noexcept;

/// Finishes the checksum of one frame: the Internet checksum, or CRC32c if the frame is SCTP.
/// Threads: safe. Blocks: never. Result: false if the checksum's place is outside the frame, which
/// is then unchanged.
bool finish_checksum(std::span<std::byte> frame, const Offload& offload) noexcept;

/// A super-frame stands for at most this many frames (Linux: UDP_MAX_SEGMENTS, 64 in older
/// kernels). The exception is TCP with an MSS of at least kMinTcpMss, options included (Linux:
/// TCP_MIN_SND_MSS; Linux never uses a smaller one). So 64 KiB are at most 1,365 TCP segments, or
/// 8,190 if each has 40 bytes of options. A super-frame that a device merged from small packets has
/// fewer than 128 segments, so these may be smaller.
inline constexpr std::size_t kMaxSegments = 128;
inline constexpr std::size_t kMinTcpMss = 48;

/// Splits a super-frame into the frames that it stands for, one at a time, so that the caller may
/// stop when its buffer is full and continue later.
///
/// TCP (RFC 9293): sequence numbers continue, FIN and PSH are only in the last frame, CWR only in
/// the first (RFC 3168 section 6.1.2). IPv4: the identification counts up. All lengths and
/// checksums are written new. Threads: one at a time. Blocks: never.
class Segmenter {
 public:
  /// Begins with a super-frame, which must stay in memory until the last segment is written. Its
  /// checksum may be finished: Linux passes on frames that a network card merged (LRO) in that
  /// form. Result: false if the frame does not match its offload header, or stands for too many
  /// frames; then it cannot be split.
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

/// How many frames a super-frame stands for; 1 if it does not match its offload header.
/// Threads: safe. Blocks: never.
std::size_t segments_of_super_frame(const FrameView& frame) noexcept;

/// How many frames a wire would carry for this one: 1 unless it is a super-frame.
/// Threads: safe. Blocks: never.
inline std::size_t segments_of(const FrameView& frame) noexcept {
  return frame.offload.is_super_frame() ? segments_of_super_frame(frame) : 1;
}

/// Whether a receiver may get this frame with this work left to do. A super-frame must be one that
/// Segmenter splits into frames of at most `longest` bytes; any other frame must have at most
/// `longest` bytes.
/// Threads: safe. Blocks: never.
bool is_deliverable(std::span<const std::byte> frame, const Offload& offload,
                    std::size_t longest) noexcept;

// Small UDP datagrams whose checksum is unfinished. Programs that read packet sockets, such as DHCP
// clients, check it, and do not ask the kernel whether it is finished. So links finish it before
// they hand such a frame to a kernel. They leave other work, which the kernel can still use:
// super-frames, TCP, and what is inside a tunnel.

/// Longer datagrams are for programs that expect offloads; finishing them would cost more.
inline constexpr std::size_t kMaxSmallDatagram = 2048;

/// Whether the frame has at most that many bytes, is one UDP datagram outside of any tunnel, and
/// lacks only its own checksum.
/// Threads: safe. Blocks: never.
bool is_unfinished_datagram(const FrameView& frame) noexcept;

/// A frame in three pieces: a finished checksum replaces the unfinished one.
struct FinishedDatagram {
  std::span<const std::byte> before, after;  ///< the bytes of the frame around it
  std::uint16_t checksum = 0;                ///< as memcpy writes it into the frame

  std::span<const std::byte> checksum_bytes() const noexcept {
    return std::as_bytes(std::span(&checksum, 1));
  }
};

/// Only for a frame for which is_unfinished_datagram() is true. Threads: safe. Blocks: never.
FinishedDatagram finish_datagram(const FrameView& frame) noexcept;

}  // namespace shmif::bus
