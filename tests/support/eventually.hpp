#pragma once
// Waiting for something that comes soon, or never.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

namespace shmif::test {

/// Whether the CPUs of this machine are emulated (tests/kernel/guest).
inline const bool kEmulated = std::getenv("SHMIF_EMULATED") != nullptr;

/// How long to wait before a test fails: several times as long as anything takes on a busy machine.
inline const std::chrono::milliseconds kGenerousTime{kEmulated ? 600000 : 120000};

/// Looks again and again until `holds` says so: every other millisecond at first, then less often.
/// Many tests wait at a time, and a look that reads all of /proc, or starts a program, takes CPU
/// time from what is waited for. Result: false when it never did.
template <class Condition>
bool eventually(Condition holds, std::chrono::milliseconds at_most = kGenerousTime) {
  using Clock = std::chrono::steady_clock;
  constexpr Clock::duration kShortest = std::chrono::milliseconds(2);
  constexpr Clock::duration kLongest = std::chrono::milliseconds(50);
  const auto begin = Clock::now();
  for (auto look = begin; !holds(); look = Clock::now()) {
    const auto now = Clock::now();
    if (now - begin >= at_most) return false;
    std::this_thread::sleep_for(
        std::clamp(std::max((now - begin) / 16, 3 * (now - look)), kShortest, kLongest));
  }
  return true;
}

}  // namespace shmif::test
