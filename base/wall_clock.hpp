#pragma once
// The clock for the timestamps of frames.

#include <time.h>

#include <cstdint>

namespace shmif::base {

/// Nanoseconds since 1970-01-01 00:00 UTC, without leap seconds (CLOCK_REALTIME, which may be set).
inline std::uint64_t wall_clock_ns() noexcept {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(t.tv_nsec);
}

}  // namespace shmif::base
