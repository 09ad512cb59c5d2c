#pragma once
// LineBudget: limits how many lines a program that runs for days writes about what others do.

#include <algorithm>
#include <chrono>

namespace shmif::tools {

/// Allows kAtOnce lines, and one more after each kEach. Threads: one at a time.
class LineBudget {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int kAtOnce = 20;
  static constexpr std::chrono::seconds kEach{1};

  /// Whether a line may be written now. If so, counts it. `now` never goes back.
  bool take(Clock::time_point now) noexcept {
    if (left(now) > Clock::duration(0)) return false;
    spent_until_ = std::max(spent_until_, now - kAtOnce * kEach) + kEach;
    return true;
  }
  /// How long until take() allows a line; 0 if it does so now.
  Clock::duration left(Clock::time_point now) const noexcept {
    return std::max(Clock::duration(0), spent_until_ + kEach - now);
  }

 private:
  /// The budget is used up until this time.
  Clock::time_point spent_until_{-(kAtOnce + 1) * kEach};  // the clock begins at 0
};

}  // namespace shmif::tools
