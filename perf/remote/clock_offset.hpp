#pragma once
// ClockOffset: how another machine's clock compares with ours, from questions and answers.

#include <algorithm>
#include <cstdint>
#include <limits>

namespace shmif::perf {

/// An answer that was back quickly tells most: the other clock was read within that time, so its
/// middle is wrong by no more than half of it (RFC 5905, section 8, "clock filter"). Clocks that
/// are compared for seconds need no more.
class ClockOffset {
 public:
  /// Asked and answered by our clock, in nanoseconds; `theirs` was read in between.
  void note(std::uint64_t asked, std::uint64_t answered, std::uint64_t theirs) noexcept {
    ++answers_;
    const std::uint64_t took = answered - std::min(asked, answered);
    if (took >= best_) return;
    best_ = took;
    // Modulo 2^64: either clock may be ahead.
    offset_ = theirs - (asked + took / 2);
  }

  int answers() const noexcept { return answers_; }
  std::uint64_t error_ns() const noexcept { return best_ / 2; }  ///< at most; once there is one
  std::uint64_t to_theirs(std::uint64_t ours) const noexcept { return ours + offset_; }
  std::uint64_t to_ours(std::uint64_t theirs) const noexcept { return theirs - offset_; }

 private:
  int answers_ = 0;
  std::uint64_t best_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t offset_ = 0;
};

}  // namespace shmif::perf
