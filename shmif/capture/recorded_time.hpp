#pragma once
// RecordedTime: when the frames of a capture are due. One rule for everything that replays.
//
//   A gap between two frames is kept, or cut to the longest one that was asked for.
//   A frame that is up to 100 ms older than one before it (captures of several queues) is due at
//   once, and holds nothing up.
//   A frame that is older than that: the clock was set back. It is due at once, and the gaps behind
//   it count from there. If the times then reach the earlier ones again, only the frames between
//   had wrong times, and they did not delay the others.
//   The next loop begins one mean gap after the last frame. If all frames have one time, a loop
//   takes a second, for otherwise it would flood the wire.

#include <algorithm>
#include <cstdint>

namespace shmif {

/// Threads: one at a time. Blocks: never. Units: nanoseconds of the recording.
class RecordedTime {
 public:
  /// `max_gap_ns`: no gap is longer; 0: as recorded.
  explicit RecordedTime(std::uint64_t max_gap_ns = 0) noexcept
      : max_gap_ns_(static_cast<std::int64_t>(std::min<std::uint64_t>(max_gap_ns, kMaxNs))) {}

  /// The next frame's time after the first frame's.
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

  /// How long before the last frame there was nothing.
  std::uint64_t gap_ns() const noexcept { return static_cast<std::uint64_t>(gap_ns_); }
  /// From the first frame to the first one of the next loop.
  std::uint64_t loop_ns() const noexcept {
    const auto all = static_cast<std::uint64_t>(last_ns_);
    return all == 0 ? kOneTimeNs : all + all / (frames_ - 1);
  }

 private:
  static constexpr std::int64_t kDisorderNs = 100'000'000;
  static constexpr std::uint64_t kOneTimeNs = 1'000'000'000;
  /// 30 years: all sums of such times fit into 64 bits, whatever a capture says.
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
