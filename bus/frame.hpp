#pragma once
// Frames as links hand them on: views, and the buffer that a batch is received into.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bus/mac.hpp"

namespace shmif {

inline constexpr std::size_t kEthernetHeaderBytes = 14;
/// Largest frame of any bus: MTU 65521, the header, and two 802.1Q/802.1ad tags.
inline constexpr std::size_t kMaxFrameBytes = 65521 + kEthernetHeaderBytes + 8;

/// One Ethernet frame, destination MAC first, without FCS. The bytes belong to somebody else.
struct FrameView {
  std::span<const std::byte> bytes;
  std::uint64_t time_ns =
      0;  ///< wall clock when it was received or sent, since the epoch; 0: unknown
  std::uint64_t number = 0;      ///< the bus's number of this frame; 0 on links that have none
  std::uint32_t true_bytes = 0;  ///< length on the wire when `bytes` is cut short; 0: not cut short
  std::uint16_t sender = 0xffff;  ///< slot of the sending port on its bus; 0xffff: not from a bus

  FrameView() = default;
  FrameView(std::span<const std::byte> b) noexcept
      : bytes(b) {}  // NOLINT(google-explicit-constructor): a span of bytes is a frame
  FrameView(const void* data, std::size_t size) noexcept
      : bytes(static_cast<const std::byte*>(data), size) {}

  std::size_t size() const noexcept { return bytes.size(); }
  bool truncated() const noexcept { return true_bytes > bytes.size(); }
  /// Valid only for frames of at least 14 bytes, as every link guarantees of what it delivers.
  MacAddress destination() const noexcept { return MacAddress::read(bytes.data()); }
  MacAddress source() const noexcept { return MacAddress::read(bytes.data() + 6); }
};

/// The buffer a batch of frames is received into, packed one behind the other, reused batch by
/// batch without allocating.
/// Threads: one at a time. Blocks: never.
class FrameBatch {
 public:
  /// Room for `max_frames` frames, `arena_bytes` in all. A link stops filling when the room left is
  /// smaller than its largest frame, so arena_bytes should be several times that.
  explicit FrameBatch(std::size_t max_frames = 64,
                      std::size_t arena_bytes = std::size_t{256} * 1024)
      : arena_(std::make_unique_for_overwrite<std::byte[]>(arena_bytes)),
        arena_bytes_(arena_bytes),
        max_frames_(max_frames) {
    frames_.reserve(max_frames);
  }

  std::span<const FrameView> frames() const noexcept { return frames_; }
  std::size_t size() const noexcept { return frames_.size(); }
  bool empty() const noexcept { return frames_.empty(); }
  const FrameView& operator[](std::size_t i) const noexcept { return frames_[i]; }
  void clear() noexcept {
    frames_.clear();
    used_ = 0;
  }

  // For links that fill the batch:

  bool full() const noexcept { return frames_.size() == max_frames_; }
  std::size_t max_frames() const noexcept { return max_frames_; }
  /// The free bytes, where the next frame may be written.
  std::span<std::byte> room() noexcept { return {arena_.get() + used_, arena_bytes_ - used_}; }
  /// Takes `view.size()` bytes, which begin `offset` bytes into room(), as the next frame; `view`
  /// gives its time, number, sender and true length. Call only while not full().
  void push(FrameView view, std::size_t offset = 0) noexcept {
    const std::size_t size = view.bytes.size();
    view.bytes = {arena_.get() + used_ + offset, size};
    frames_.push_back(view);  // never allocates: reserved, and not full
    used_ += (offset + size + kAlignBytes - 1) & ~(kAlignBytes - 1);
    if (used_ > arena_bytes_) used_ = arena_bytes_;
  }
  /// Takes back the frames from index `from` up to, not including, `to`; their bytes stay used
  /// until clear().
  void drop(std::size_t from, std::size_t to) noexcept {
    using Difference = std::vector<FrameView>::difference_type;
    frames_.erase(frames_.begin() + static_cast<Difference>(from),
                  frames_.begin() + static_cast<Difference>(to));
  }

 private:
  static constexpr std::size_t kAlignBytes = 16;
  std::unique_ptr<std::byte[]> arena_;
  std::size_t arena_bytes_;
  std::size_t max_frames_;
  std::size_t used_ = 0;
  std::vector<FrameView> frames_;
};

}  // namespace shmif
