#pragma once
// The one definition of a percentile, for all that show one.

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace shmif::base {

/// Which of `count` sorted values, counted from 1, is the percentile: the least that `per_cent` (0
/// to 100) of all do not exceed. 0 where there are no values.
inline std::uint64_t nearest_rank(std::uint64_t count, double per_cent) noexcept {
  const double exact = std::clamp(per_cent, 0.0, 100.0) / 100 * static_cast<double>(count);
  // 99.9 % of 1000 is 999, whatever binary fractions make of it.
  const auto rank = static_cast<std::uint64_t>(std::ceil(exact - 1e-9 * exact));
  return std::min(std::max<std::uint64_t>(rank, 1), count);
}

}  // namespace shmif::base
