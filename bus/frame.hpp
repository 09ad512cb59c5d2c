#pragma once
// Frames as links pass them on: views, the buffer into which a batch is received, and what the
// calls that send, receive and wait return.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>

#include "bus/mac.hpp"

namespace shmif {

inline constexpr std::size_t kEthernetHeaderBytes = 14;  ///< two MAC addresses and the EtherType
inline constexpr std::size_t kVlanTagBytes = 4;          ///< IEEE 802.1Q
/// Largest frame of any bus: MTU 65521, the header, and two 802.1Q/802.1ad tags.
inline constexpr std::size_t kMaxFrameBytes = 65521 + kEthernetHeaderBytes + 8;

/// Longest super-frame: an IP packet of 64 KiB less one byte, the header, and two tags.
inline constexpr std::size_t kMaxSuperFrameBytes = 65535 + kEthernetHeaderBytes + 8;

/// The work that the sender of a frame leaves to its receiver, as a kernel leaves it to a network
/// card: struct virtio_net_hdr (virtio 1.2, section 5.1.6) as Linux uses it, in the machine's byte
/// order.
///
///   - A checksum is *unfinished*: its field holds only the sum of the pseudo header. The sum from
///     csum_start to the end of the frame is missing.
///   - A *super-frame* (GSO) of up to 64 KiB holds one TCP or UDP header and the payload of many
///     frames; each of them carries gso_size bytes of it.
struct Offload {
  static constexpr std::uint8_t kNeedsChecksum = 1;  ///< of `flags`: a checksum is unfinished
  static constexpr std::uint8_t kGsoNone = 0;        ///< of `gso_type`: an ordinary frame
  static constexpr std::uint8_t kGsoTcp4 = 1;        ///< a super-frame of TCP over IPv4
  static constexpr std::uint8_t kGsoTcp6 = 4;        ///< a super-frame of TCP over IPv6
  /// A super-frame of UDP (UDP_SEGMENT): each segment is a datagram of its own.
  static constexpr std::uint8_t kGsoUdp = 5;
  /// Together with kGsoTcp4 or kGsoTcp6: the TCP header has the flag CWR (RFC 3168).
  static constexpr std::uint8_t kGsoEcn = 0x80;

  std::uint8_t flags = 0;          ///< kNeedsChecksum; other bits are ignored
  std::uint8_t gso_type = 0;       ///< kGsoNone, or one of the other kGso
  std::uint16_t header_bytes = 0;  ///< a hint only
  std::uint16_t gso_size = 0;      ///< payload bytes of each frame to make
  std::uint16_t csum_start = 0;    ///< from the beginning of the frame
  std::uint16_t csum_offset = 0;   ///< of the field, from csum_start

  /// Whether the checksum is unfinished. Only then do the csum_ members mean something.
  bool needs_checksum() const noexcept { return (flags & kNeedsChecksum) != 0; }
  /// Whether the frame is to be split into segments.
  bool is_super_frame() const noexcept { return gso_type != kGsoNone; }
  /// Whether the sender has left any work to the receiver.
  bool pending() const noexcept { return ((flags & kNeedsChecksum) | gso_type) != 0; }
};
static_assert(sizeof(Offload) == 10);

/// One Ethernet frame, destination MAC first, without FCS. The view does not own the bytes.
struct FrameView {
  /// The frame, or only its beginning if true_bytes says so. The bytes of a frame that was received
  /// stay until its batch is cleared; those of a frame that was lent, until it is given back.
  std::span<const std::byte> bytes;
  std::uint64_t time_ns =
      0;  ///< wall clock when it was received or sent, since the epoch; 0: unknown
  std::uint64_t number = 0;      ///< the frame's sequence number on its bus; 0 on links without one
  std::uint32_t true_bytes = 0;  ///< length on the wire when `bytes` is cut short; 0: not cut short
  std::uint16_t sender = 0xffff;  ///< slot of the sending port on its bus; 0xffff: not from a bus
  Offload offload{};              ///< empty unless both sides asked for offloads
  /// Which of the successive ports in this slot sent it: PortInfo::incarnation.
  std::uint32_t sender_incarnation = 0;

  /// A view of no bytes.
  FrameView() = default;
  /// A whole frame to be sent. The bytes must stay, and must not change, until send() has returned.
  FrameView(std::span<const std::byte> b) noexcept
      : bytes(b) {}  // NOLINT(google-explicit-constructor): a span of bytes is a frame
  /// The same for `size` bytes at `data`.
  FrameView(const void* data, std::size_t size) noexcept
      : bytes(static_cast<const std::byte*>(data), size) {}

  /// How many bytes there are: fewer than the frame has if it is cut short.
  std::size_t size() const noexcept { return bytes.size(); }
  /// Whether `bytes` is only the beginning of the frame.
  bool truncated() const noexcept { return true_bytes > bytes.size(); }
  /// Valid only for frames of at least 14 bytes; every link delivers only such frames.
  MacAddress destination() const noexcept { return MacAddress::read(bytes.data()); }
  /// As destination(): only for frames of at least 14 bytes.
  MacAddress source() const noexcept { return MacAddress::read(bytes.data() + 6); }
};

/// The buffer into which a batch of frames is received, one frame behind the other. It is reused
/// for batch after batch without allocating. After a move, the old object may only be assigned to
/// or destroyed. Threads: one at a time. Blocks: never.
class FrameBatch {
 public:
  /// Room for `max_frames` frames, `arena_bytes` in total. A link stops filling when the room left
  /// is smaller than its largest frame, so arena_bytes should be several times that.
  explicit FrameBatch(std::size_t max_frames = 64,
                      std::size_t arena_bytes = std::size_t{256} * 1024)
      : arena_(std::make_unique_for_overwrite<std::byte[]>(arena_bytes)),
        arena_bytes_(arena_bytes),
        frames_(std::make_unique<FrameView[]>(max_frames)),
        max_frames_(max_frames) {}

  /// The frames, in the order in which they came. Valid until the batch is changed.
  std::span<const FrameView> frames() const noexcept { return {frames_.get(), size_}; }
  /// How many frames are in the batch.
  std::size_t size() const noexcept { return size_; }
  /// Whether no frame is in the batch.
  bool empty() const noexcept { return size_ == 0; }
  /// Frame number `i`, counted from 0; `i` must be less than size().
  const FrameView& operator[](std::size_t i) const noexcept { return frames_[i]; }
  /// Removes all frames, so that the batch can be filled again. Its memory stays.
  void clear() noexcept {
    size_ = 0;
    used_ = 0;
  }

  // For links that fill the batch:

  /// Whether the batch has max_frames() frames. It may have no room() for a frame before that.
  bool full() const noexcept { return size_ == max_frames_; }
  /// How many frames the batch holds at most, as given to the constructor.
  std::size_t max_frames() const noexcept { return max_frames_; }
  /// The free bytes, where the next frame may be written.
  std::span<std::byte> room() noexcept { return {arena_.get() + used_, arena_bytes_ - used_}; }
  /// Whether a frame of `bytes` may be written to room(). It must fit whole; only the first frame
  /// of a batch may be cut to the room, which must hold an Ethernet header. Otherwise the frame
  /// waits for another batch.
  bool has_room_for(std::size_t bytes) const noexcept {
    const std::size_t left = arena_bytes_ - used_;
    return left >= bytes || (size_ == 0 && left >= kEthernetHeaderBytes);
  }
  /// The view of the next frame, blank, to be filled in place: copying a view that was built
  /// elsewhere takes a quarter of the time of a 64-byte frame. keep() or keep_lent() adds it to the
  /// batch; without them the call has no effect. Call only while not full().
  FrameView& next() noexcept { return frames_[size_] = {}; }
  /// Adds next(), whose bytes begin `offset` bytes into room().
  void keep(std::size_t offset = 0) noexcept {
    const std::size_t used = aligned(offset + frames_[size_].size());
    keep_filled(1, used);
  }
  /// Adds next(), whose bytes stay where they are.
  void keep_lent() noexcept { ++size_; }
  /// The views behind the last frame, for a link that fills many of them: keep_filled() adds them.
  std::span<FrameView> unfilled() noexcept { return {frames_.get() + size_, max_frames_ - size_}; }
  /// Adds the first `count` of unfilled(). Their bytes take the first `used` bytes of room(), each
  /// aligned by aligned(), or stay where they are.
  void keep_filled(std::size_t count, std::size_t used) noexcept {
    size_ += count;
    used_ = std::min(used_ + used, arena_bytes_);
  }
  /// The bytes that a frame of `bytes` takes of room().
  static constexpr std::size_t aligned(std::size_t bytes) noexcept {
    return (bytes + kAlignBytes - 1) & ~(kAlignBytes - 1);
  }

  /// Adds `view.size()` bytes, which begin `offset` bytes into room(), as the next frame; `view`
  /// gives its time, number, sender and true length. Call only while not full().
  void push(const FrameView& view, std::size_t offset = 0) noexcept {
    frames_[size_] = view;
    frames_[size_].bytes = {arena_.get() + used_ + offset, view.size()};
    keep(offset);
  }
  /// Adds a frame whose bytes stay where they are. Call only while not full().
  void push_lent(const FrameView& view) noexcept { frames_[size_++] = view; }
  /// Removes the frames from index `from` up to, but not including, `to`. Their bytes stay used
  /// until the batch is empty.
  void drop(std::size_t from, std::size_t to) noexcept {
    size_ = static_cast<std::size_t>(
        std::move(frames_.get() + to, frames_.get() + size_, frames_.get() + from) - frames_.get());
    if (size_ == 0) used_ = 0;
  }

 private:
  static constexpr std::size_t kAlignBytes = 16;
  std::unique_ptr<std::byte[]> arena_;
  std::size_t arena_bytes_;
  std::unique_ptr<FrameView[]> frames_;
  std::size_t max_frames_;
  std::size_t size_ = 0;
  std::size_t used_ = 0;
};

/// The outcome of sending a batch. The link accepted the first `taken` frames (or dropped and
/// counted them itself, as a full device does). The caller can send the rest again.
struct [[nodiscard]] SendResult {
  std::size_t taken = 0;  ///< counted from the front of the batch
  std::error_code error;  ///< set: why frame number `taken` was refused; Errc::link_ended: for good
};

/// The outcome of a receive. No frames and no error: at present, no frame waits.
struct [[nodiscard]] ReceiveResult {
  std::size_t frames = 0;  ///< how many frames were added to the batch
  std::uint64_t lost = 0;  ///< frames lost to overruns since the last call
  std::error_code error;   ///< Errc::link_ended: no frame will ever come again (device gone, EOF)
};

/// What prepare_wait() returns.
struct WaitHint {
  bool ready = false;  ///< frames are there: do not sleep
  /// Sleep no longer than this before looking again, whatever the descriptor says.
  std::chrono::nanoseconds at_most = std::chrono::nanoseconds::max();
};

}  // namespace shmif
