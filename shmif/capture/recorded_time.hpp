#pragma once
// RecordedTime: when the frames of a capture are due. All code that replays a capture follows these
// rules.
//
//   A gap between two frames is kept, or cut to the longest gap that was asked for.
//   A frame that is up to 100 ms older than one before it (captures of several queues) is due at
//   once, and delays no other frame.
//   If a frame is older than that, the clock was set back. The frame is due at once, and the gaps
//   after it count from there. If the times then reach the earlier ones again, only the frames
//   between had wrong times, and they did not delay the others.
//   The next loop begins one mean gap after the last frame. If all frames have the same time, a
//   loop takes a second, because otherwise it would flood the wire.

#include <algorithm>
#include <cstdint>

namespace shmif {

/// Threads: one at a time. Blocks: never. Units: nanoseconds of the recording.
class RecordedTime {
 public:
  /// `max_gap_ns`: gaps are cut to this length; 0: they are kept as recorded.
  explicit RecordedTime(std::uint64_t max_gap_ns = 0) noexcept
      : max_gap_ns_(static_cast<std::int64_t>(std::min<std::uint64_t>(max_gap_ns, kMaxNs))) {}

  /// The time of the next frame, counted from the first frame.
  std::uint64_t next(std::uint64_t time_ns) noexcept {
    if (frames_++ == 0) {
      first_ns_ = time_ns;
      return 0;
    }
    const std::int64_t since =
        std::clamp(static_cast<std::int64_t>(time_ns - first_ns_), -2 * kMaxNs, 2 * kMaxNs);
    std::int64_t due = since + shift_ns_;
    const std::int64_t earlier = since + shift_before_ns_;
    if (earlier >= last_ns_ && earlier < due) {
      due = earlier;
      shift_ns_ = shift_before_ns_;
    }
    if (due < last_ns_ - kDisorderNs) {
      shift_before_ns_ = shift_ns_;
      shift_ns_ = last_ns_ - since;
    }
    gap_ns_ = std::clamp<std::int64_t>(due - last_ns_, 0, kMaxNs - last_ns_);
    if (max_gap_ns_ != 0 && gap_ns_ > max_gap_ns_) {
      const std::int64_t cut = gap_ns_ - max_gap_ns_;
      shift_ns_ = last_ns_ + max_gap_ns_ - since;
      shift_before_ns_ = std::max(shift_before_ns_ - cut, -4 * kMaxNs);
      gap_ns_ = max_gap_ns_;
    }
    last_ns_ += gap_ns_;
    return static_cast<std::uint64_t>(last_ns_);
  }

  /// The gap before the last frame.
  std::uint64_t gap_ns() const noexcept { return static_cast<std::uint64_t>(gap_ns_); }
  /// The time from the first frame to the first frame of the next loop.
  std::uint64_t loop_ns() const noexcept {
    const auto all = static_cast<std::uint64_t>(last_ns_);
    return all == 0 ? kOneTimeNs : all + all / (frames_ - 1);
  }

 private:
  static constexpr std::int64_t kDisorderNs = 100'000'000;
  static constexpr std::uint64_t kOneTimeNs = 1'000'000'000;
  /// 30 years. All sums of such times fit into 64 bits, whatever times a capture has.
  static constexpr std::int64_t kMaxNs = 1'000'000'000'000'000'000;

  std::int64_t max_gap_ns_;
  std::uint64_t frames_ = 0;
  std::uint64_t first_ns_ = 0;
  std::int64_t last_ns_ = 0;
  std::int64_t gap_ns_ = 0;
  std::int64_t shift_ns_ = 0;
  std::int64_t shift_before_ns_ = 0;  // before the clock was last set back
};

}  // namespace shmif
