#pragma once
// ClockOffset: compares another machine's clock with ours, by questions and answers.

#include <algorithm>
#include <cstdint>
#include <limits>

namespace shmif::perf {

/// The fastest answer is the most precise: the other clock was read between question and answer, so
/// assuming the middle is wrong by at most half of that time (RFC 5905, section 8, "clock filter").
/// For comparisons that last seconds, this is enough.
class ClockOffset {
 public:
  /// Notes an answer: `asked` and `answered` by our clock, in nanoseconds; `theirs` was read in
  /// between.
  void note(std::uint64_t asked, std::uint64_t answered, std::uint64_t theirs) noexcept {
    ++answers_;
    const std::uint64_t took = answered - std::min(asked, answered);
    if (took >= best_) return;
    best_ = took;
    // Modulo 2^64: either clock may be ahead.
    offset_ = theirs - (asked + took / 2);
  }

  int answers() const noexcept { return answers_; }
  std::uint64_t error_ns() const noexcept { return best_ / 2; }  ///< at most; valid after an answer
  std::uint64_t to_theirs(std::uint64_t ours) const noexcept { return ours + offset_; }
  std::uint64_t to_ours(std::uint64_t theirs) const noexcept { return theirs - offset_; }

 private:
  int answers_ = 0;
  std::uint64_t best_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t offset_ = 0;
};

}  // namespace shmif::perf
