#pragma once
// The rank of a percentile, for latency histograms and for `shmifctl ping`.

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace shmif::base {

/// The place, counted from 1, of the percentile among `count` sorted values. The percentile is the
/// least value that `per_cent` (0 to 100) of all values do not exceed. 0 if there are no values.
inline std::uint64_t nearest_rank(std::uint64_t count, double per_cent) noexcept {
  const double exact = std::clamp(per_cent, 0.0, 100.0) / 100 * static_cast<double>(count);
  // 99.9 % of 1000 must be 999, although binary fractions make it a little more.
  const auto rank = static_cast<std::uint64_t>(std::ceil(exact - 1e-9 * exact));
  return std::min(std::max<std::uint64_t>(rank, 1), count);
}

}  // namespace shmif::base
