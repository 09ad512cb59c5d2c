#pragma once
// SpinBudget: how often a wait looks at the ring before it sleeps.
//
// A look answers in a fraction of a microsecond, a sleep in two to fifty. But if no frame comes, or
// the sender needs this very CPU, every look is wasted. Only earlier waits can tell. A wait that
// ended at look n allows 4n looks to the next one. A wait that looked in vain halves the number,
// until no looks are left. Now and then a wait tries the maximum again; after each such trial in
// vain, the next one comes later.
//
// The maximum takes about as long as the kernel takes to wake a halted CPU. With less, two ports
// that answer each other at once and have both begun to sleep would never find out that they need
// not sleep: each sees the other's answer only after the other woke.

#include <algorithm>

namespace shmif::bus {

/// Threads: one at a time.
class SpinBudget {
 public:
  static constexpr unsigned kMax = 2000;    // looks of 30 ns each, docs/lab/measurements.md
  static constexpr unsigned kUseful = 100;  // the least while looking pays at all
  static constexpr unsigned kFirstGap = 16;
  static constexpr unsigned kLongestGap = 4096;

  /// How often to look in the wait that begins. Report its outcome with paid() or was_in_vain().
  unsigned looks() noexcept {
    if (looks_ == 0 && ++waits_ >= gap_) looks_ = kMax;
    return looks_;
  }
  /// A frame came at look number `look`, counted from 1.
  void paid(unsigned look) noexcept {
    gap_ = kFirstGap;
    waits_ = 0;
    looks_ = std::clamp(4 * look, kUseful, kMax);
  }
  /// No frame came while it looked.
  void was_in_vain() noexcept {
    if (waits_ >= gap_) {  // a trial
      gap_ = std::min(2 * gap_, kLongestGap);
      waits_ = 0;
      looks_ = 0;
    }
    looks_ /= 2;
  }

 private:
  unsigned looks_ = kUseful;
  unsigned gap_ = kFirstGap;  // waits without a look until the next trial
  unsigned waits_ = 0;        // such waits so far
};

}  // namespace shmif::bus
