#pragma once
// Expectation: decides whether to keep looking for the answer to a frame for a while before going
// to sleep.
//
// A sleep and a wakeup cost tens of microseconds. If two programs ask and answer each other, the
// next frame often comes sooner. But a loop that keeps looking takes a CPU from others; with two
// CPUs, perhaps from the program that would answer. So the loop tries, and after each try in vain
// it skips the next 1, 2, 4 and so on up to 256 occasions. So looking costs next to nothing where
// it does not pay, and the loop soon finds out where it begins to pay.

#include <algorithm>

namespace shmif::tap {

class Expectation {
 public:
  static constexpr unsigned kMaxSkipped = 256;

  /// Call it once for each occasion; if true, learn() must follow.
  bool is_worth_a_look() noexcept {
    if (to_skip_ == 0) return true;
    --to_skip_;
    return false;
  }
  void learn(bool answered) noexcept {
    skip_ = answered ? 0 : std::clamp(2 * skip_, 1U, kMaxSkipped);
    to_skip_ = skip_;
  }

 private:
  unsigned skip_ = 0;     // occasions to skip after the last look
  unsigned to_skip_ = 0;  // how many of these are still to skip
};

}  // namespace shmif::tap
