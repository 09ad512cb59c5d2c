#pragma once
// What a counter of the kernel has grown by.

#include <algorithm>
#include <cstdint>
#include <utility>

namespace shmif::perf {

/// From `before`, which becomes `now`. 0 if the counter began again, as after an exec by another
/// thread; the largest number if more does not fit.
inline std::uint32_t difference(std::uint64_t now, std::uint64_t& before) noexcept {
  const std::uint64_t then = std::exchange(before, now);
  return now < then ? 0
                    : static_cast<std::uint32_t>(std::min<std::uint64_t>(now - then, UINT32_MAX));
}

}  // namespace shmif::perf
