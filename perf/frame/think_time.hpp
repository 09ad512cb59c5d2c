#pragma once
// ThinkTime: pauses between bursts of frames.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>

namespace shmif::perf {

/// After every `blocks` frames comes a pause; its beginning may be spent spinning. Counts frames,
/// however they are batched. Threads: one at a time. Blocks: never; it does not wait.
class ThinkTime {
 public:
  using Nanoseconds = std::chrono::nanoseconds;

  struct Options {
    Nanoseconds pause{0};  ///< 0: no pause
    Nanoseconds spin{0};   ///< part of the pause that is spent spinning
    std::uint64_t blocks = 1;
  };
  explicit ThinkTime(const Options& options) noexcept
      : options_(options), left_(frames_of_a_burst()) {}

  /// How many frames may be sent before the next pause.
  std::uint64_t left() const noexcept { return left_; }
  /// Notes that `frames` were sent, at most left().
  void note(std::uint64_t frames) noexcept {
    if (options_.pause.count() > 0) left_ -= frames;
  }
  /// Whether the burst is over, so a pause begins when all its frames have left.
  bool is_due() const noexcept { return left_ == 0; }

  struct Pause {
    std::uint64_t spin_until_ns = 0;
    std::uint64_t until_ns = 0;
  };
  /// Begins a pause, which ends at `end_ns` at the latest. The next burst follows it.
  Pause begin(std::uint64_t now_ns, std::uint64_t end_ns) noexcept {
    left_ = frames_of_a_burst();
    const auto after = [&](Nanoseconds time) {
      const auto length_ns = static_cast<std::uint64_t>(std::max<std::int64_t>(0, time.count()));
      return std::min(now_ns + length_ns, std::max(now_ns, end_ns));
    };
    return {.spin_until_ns = after(std::min(options_.spin, options_.pause)),
            .until_ns = after(options_.pause)};
  }

 private:
  std::uint64_t frames_of_a_burst() const noexcept {
    if (options_.pause.count() <= 0) return std::numeric_limits<std::uint64_t>::max();
    return std::max<std::uint64_t>(1, options_.blocks);
  }

  Options options_;
  std::uint64_t left_;
};

}  // namespace shmif::perf
