#pragma once
// What a network card's offloads do, done in software: finishing checksums and cutting
// super-frames.
//
// The kernel leaves this work to the device when it may. A packet socket with PACKET_VNET_HDR then
// shows a frame as it is, with a header (virtio 1.2, section 5.1.6) that says what is left to do:
//
//   - a checksum is *unfinished*: its field holds the sum of the pseudo header only; what is
//   missing is
//     the sum from csum_start to the end of the frame;
//   - a *super-frame* (GSO) of up to 64 KiB holds one TCP or UDP header and payload for many
//   frames,
//     each to carry gso_size bytes of it.
//
// Frames on a bus are whole: every receiver, capture file and other machine must be able to read
// them. The headers come from the kernel, but describe bytes that a guest wrote, so nothing here
// trusts them.

#include <cstddef>
#include <cstdint>
#include <span>

namespace shmif::tap {

/// struct virtio_net_hdr as Linux uses it, in the machine's byte order.
struct VnetHeader {
  static constexpr std::uint8_t kNeedsChecksum = 1;  // flags
  static constexpr std::uint8_t kGsoNone = 0;        // gso_type
  static constexpr std::uint8_t kGsoTcp4 = 1;
  static constexpr std::uint8_t kGsoTcp6 = 4;
  static constexpr std::uint8_t kGsoUdp = 5;     // UDP_SEGMENT: each piece a datagram of its own
  static constexpr std::uint8_t kGsoEcn = 0x80;  // together with one of the above

  std::uint8_t flags = 0;
  std::uint8_t gso_type = 0;
  std::uint16_t header_bytes = 0;  ///< a hint only
  std::uint16_t gso_size = 0;      ///< payload bytes of each frame to make
  std::uint16_t csum_start = 0;    ///< from the beginning of the frame
  std::uint16_t csum_offset = 0;   ///< of the field, from csum_start

  bool needs_checksum() const noexcept { return (flags & kNeedsChecksum) != 0; }
  bool is_super_frame() const noexcept { return gso_type != kGsoNone; }
};
static_assert(sizeof(VnetHeader) == 10);

/// The Internet checksum's sum (RFC 1071) of `bytes`, folded to 16 bits, not complemented.
/// Threads: safe. Blocks: never. Units: in the machine's byte order, as memcpy puts it into a
/// frame.
std::uint16_t internet_sum(std::span<const std::byte> bytes, std::uint32_t start = 0) noexcept;

/// Finishes the checksum of one frame: the Internet checksum, or CRC32c where the frame is SCTP.
/// Threads: safe. Blocks: never. Result: false when the header does not fit the frame, which is
/// then unchanged.
bool finish_checksum(std::span<std::byte> frame, const VnetHeader& header) noexcept;

/// Cuts one super-frame into the frames that it stands for, one at a time, so that the caller may
/// stop when its buffer is full and go on later.
///
/// TCP (RFC 9293): sequence numbers go on, FIN and PSH only in the last frame, CWR only in the
/// first (RFC 3168 section 6.1.2). IPv4: identification counts up. All lengths and checksums are
/// made anew. Threads: one at a time. Blocks: never.
class Segmenter {
 public:
  /// Begins with a super-frame, which must stay until the last segment is out.
  /// Result: false when it is not what its header says; nothing can be made of it then.
  bool begin(std::span<const std::byte> frame, const VnetHeader& header) noexcept;

  bool done() const noexcept { return next_ >= frame_.size(); }
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

}  // namespace shmif::tap
