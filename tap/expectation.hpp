#pragma once
// Expectation: whether to look on for a while, before going to sleep, for the answer to a frame.
//
// A sleep and a wake-up cost tens of microseconds, and the next frame of two programs that ask and
// answer each other is often here sooner. But a loop that looks on takes a CPU from somebody, on
// two CPUs perhaps from who would answer. So it is tried, and each time that it was in vain the
// next 1, 2, 4 and so on up to 256 occasions are let pass: then it costs next to nothing where it
// does not pay, and is found out soon where it begins to.

#include <algorithm>

namespace shmif::tap {

class Expectation {
 public:
  static constexpr unsigned kMostSkipped = 256;

  /// To be asked once for each occasion; if true, learn() is to follow.
  bool is_worth_a_look() noexcept {
    if (to_skip_ == 0) return true;
    --to_skip_;
    return false;
  }
  void learn(bool answered) noexcept {
    skip_ = answered ? 0 : std::clamp(2 * skip_, 1U, kMostSkipped);
    to_skip_ = skip_;
  }

 private:
  unsigned skip_ = 0;     // after the last look
  unsigned to_skip_ = 0;  // of these, still
};

}  // namespace shmif::tap
