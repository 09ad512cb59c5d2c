#pragma once
// Joins the intervals in which something happened into windows of time.
//
// Threads: any. Blocks: never.

#include <limits>
#include <span>
#include <vector>

#include "perf/why/series.hpp"

namespace shmif::perf {

struct CauseWindow {
  std::size_t begin = 0, end = 0;  ///< numbers of intervals; the end is not part of it
  double share = 0;   ///< mean of the known values, weighted by the lengths of the intervals
  double held_s = 0;  ///< share times the length of these intervals
};

/// Intervals that are closer to each other than this become one window, because a cause that pauses
/// for less time is the same cause. This is three samples at 10 Hz, so a missed sample does not cut
/// a window in two.
inline constexpr double kJoinSeconds = 0.35;

/// An unknown value. Its interval is left out of a share.
inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

/// The windows in which `values` reach `threshold`; values[i] belongs to interval first + i.
std::vector<CauseWindow> windows_of(const WhySeries& series, std::size_t first,
                                    std::span<const double> values, double threshold);

}  // namespace shmif::perf
