#pragma once
// How much a counter of the kernel has grown.

#include <algorithm>
#include <cstdint>
#include <utility>

namespace shmif::perf {

/// The growth from `before` to `now`; sets `before` to `now`. 0 if the counter began again, for
/// example after an exec by another thread; the largest number if the growth does not fit.
inline std::uint32_t difference(std::uint64_t now, std::uint64_t& before) noexcept {
  const std::uint64_t then = std::exchange(before, now);
  return now < then ? 0
                    : static_cast<std::uint32_t>(std::min<std::uint64_t>(now - then, UINT32_MAX));
}

/// The same for a counter of 32 bits, which wraps to 0.
inline std::uint32_t difference32(std::uint32_t now, std::uint32_t& before) noexcept {
  const std::uint32_t grown = now - std::exchange(before, now);
  return grown < UINT32_MAX / 2 ? grown : 0;
}

}  // namespace shmif::perf
