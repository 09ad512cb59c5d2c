#pragma once
// Finds out to which frames of the bus the frames of a dump belong, and how many were lost between.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "bus/frame.hpp"

namespace shmif::tools {

/// The frame of the bus to which a frame belongs: segments of a super-frame share one. The time is
/// compared, too, because a repair can restart the numbers.
class UnitOfBus {
 public:
  UnitOfBus() = default;
  explicit UnitOfBus(const FrameView& frame) : number_(frame.number), time_ns_(frame.time_ns) {}

  bool is_of(const FrameView& frame) const noexcept {
    return number_ == frame.number && time_ns_ == frame.time_ns;
  }

 private:
  std::optional<std::uint64_t> number_;
  std::uint64_t time_ns_ = 0;
};

/// Finds out how many frames were lost before each frame, from the gaps between their numbers.
class Gaps {
 public:
  /// Notes the result of a receive: its frames, and how many frames it reported as lost before,
  /// among and after them.
  void received(std::span<const FrameView> frames, std::uint64_t lost) {
    const std::uint64_t earlier = unplaced_;  // lost after all earlier frames
    unplaced_ += lost;
    if (frames.empty()) return;
    // Before the very first frame, there is no number to count from. Among the frames of its batch,
    // the numbers show which were lost there. The other lost frames were lost before it.
    const std::uint64_t elsewhere = last_ ? unplaced_ - earlier : among(frames);
    before_first_ = unplaced_ - std::min(unplaced_, elsewhere);
  }
  /// Result: how many frames were lost between the last frame and this one. It is never more than
  /// the number reported as lost, because a repair can make numbers jump.
  std::uint64_t before(std::uint64_t number) {
    const bool follows = last_ && number > *last_;
    const std::uint64_t missing = follows ? number - *last_ - 1 : 0;
    const std::uint64_t gap =
        std::min(std::max(missing, std::exchange(before_first_, 0)), unplaced_);
    last_ = number;
    unplaced_ -= gap;
    return gap;
  }

 private:
  static std::uint64_t among(std::span<const FrameView> frames) {
    std::uint64_t missing = 0;
    for (std::size_t i = 1; i < frames.size(); ++i) {
      const std::uint64_t step = frames[i].number - frames[i - 1].number;
      if (frames[i].number > frames[i - 1].number) missing += step - 1;  // segments share a number
    }
    return missing;
  }

  std::optional<std::uint64_t> last_;
  std::uint64_t unplaced_ = 0;
  std::uint64_t before_first_ = 0;  // lost before this batch, at least
};

}  // namespace shmif::tools
