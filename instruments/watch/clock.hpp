#pragma once
// The clock of a run.

#include <time.h>

#include <cerrno>
#include <chrono>
#include <cstdint>

namespace shmif::perf {

/// Nanoseconds of CLOCK_MONOTONIC, the clock of all times in a run.
inline std::uint64_t now_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

/// An option's time in the unit of these times; a negative time becomes 0.
inline std::uint64_t ns(std::chrono::nanoseconds time) noexcept {
  return time.count() > 0 ? static_cast<std::uint64_t>(time.count()) : 0;
}

/// Sleeps until that time of CLOCK_MONOTONIC, whatever signals come.
inline void sleep_until(std::uint64_t time_ns) noexcept {
  const timespec until{static_cast<time_t>(time_ns / 1'000'000'000),
                       static_cast<long>(time_ns % 1'000'000'000)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
}

}  // namespace shmif::perf
