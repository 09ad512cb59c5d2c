#include "perf/why/windows.hpp"

#include <algorithm>

namespace shmif::perf {
namespace {

/// A weaker window is not part of a stronger one that it does not touch: noise before an event
/// would let the event begin too early.
constexpr double kSimilar = 0.5;

void measure(const WhySeries& series, std::size_t first, std::span<const double> values,
             Window& window) {
  window.held_s = 0;
  for (std::size_t i = window.begin; i < window.end; ++i) {
    window.held_s += values[i - first] * series.seconds_of(i);
  }
  window.share = window.held_s / (series.ends_s[window.end - 1] - series.begin_of(window.begin));
}

}  // namespace

std::vector<Window> windows_of(const WhySeries& series, std::size_t first,
                               std::span<const double> values, double threshold) {
  std::vector<Window> runs;  // of intervals without a gap
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t interval = first + i;
    if (values[i] < threshold || series.seconds_of(interval) <= 0) continue;
    if (runs.empty() || runs.back().end != interval) runs.push_back({.begin = interval});
    runs.back().end = interval + 1;
  }
  std::vector<Window> windows;
  for (Window& run : runs) {
    measure(series, first, values, run);
    if (!windows.empty()) {
      Window& last = windows.back();
      const double gap = series.begin_of(run.begin) - series.ends_s[last.end - 1];
      const auto [less, more] = std::minmax(last.share, run.share);
      if (gap < kJoinSeconds && less >= kSimilar * more) {
        last.end = run.end;
        measure(series, first, values, last);
        continue;
      }
    }
    windows.push_back(run);
  }
  return windows;
}

}  // namespace shmif::perf
