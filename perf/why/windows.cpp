#include "perf/why/windows.hpp"

#include <algorithm>
#include <cmath>

namespace shmif::perf {
namespace {

/// Two windows with a gap are joined only if the weaker is at least this share of the stronger.
/// Otherwise noise before an event would make the event begin too early. add_run() uses the same
/// share.
constexpr double kSimilar = 0.5;

void measure(const WhySeries& series, std::size_t first, std::span<const double> values,
             CauseWindow& window) {
  double known_s = 0;
  window.held_s = 0;
  for (std::size_t i = window.begin; i < window.end; ++i) {
    if (std::isnan(values[i - first])) continue;
    known_s += series.seconds_of(i);
    window.held_s += values[i - first] * series.seconds_of(i);
  }
  window.share = window.held_s / known_s;  // windows begin with an interval that is known
}

/// Adds a run of intervals. A strong middle becomes its own window, so that an event in a noisy
/// time has its own begin and end. A weak edge of only one interval stays with the middle, because
/// the event begins or ends in it.
void add_run(const WhySeries& series, std::size_t first, std::span<const double> values,
             CauseWindow run, std::vector<CauseWindow>& runs) {
  constexpr std::size_t kUpperQuarter = 4;
  const auto value = [&](std::size_t interval) { return values[interval - first]; };
  std::vector<double> sorted;
  for (std::size_t i = run.begin; i < run.end; ++i) sorted.push_back(value(i));
  std::ranges::sort(sorted);
  const double strong = sorted[sorted.size() - 1 - sorted.size() / kUpperQuarter] * kSimilar;
  CauseWindow core = run;
  while (value(core.begin) < strong) ++core.begin;
  while (value(core.end - 1) < strong) --core.end;
  if (core.begin == run.begin + 1) core.begin = run.begin;
  if (core.end + 1 == run.end) core.end = run.end;
  if (core.begin > run.begin) {
    add_run(series, first, values, {.begin = run.begin, .end = core.begin}, runs);
  }
  measure(series, first, values, core);
  runs.push_back(core);
  if (core.end < run.end) {
    add_run(series, first, values, {.begin = core.end, .end = run.end}, runs);
  }
}

/// Joins neighbours that are close and alike.
std::vector<CauseWindow> joined(const WhySeries& series, std::size_t first,
                                std::span<const double> values,
                                const std::vector<CauseWindow>& runs) {
  std::vector<CauseWindow> windows;
  for (const CauseWindow& run : runs) {
    if (!windows.empty()) {
      CauseWindow& last = windows.back();
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

}  // namespace

std::vector<CauseWindow> windows_of(const WhySeries& series, std::size_t first,
                                    std::span<const double> values, double threshold) {
  std::vector<CauseWindow> runs;
  for (std::size_t i = 0; i < values.size();) {
    const auto counts = [&](std::size_t at) {
      return at < values.size() && values[at] >= threshold && series.seconds_of(first + at) > 0;
    };
    std::size_t end = i;
    while (counts(end)) ++end;
    if (end > i) {
      add_run(series, first, values, {.begin = first + i, .end = first + end}, runs);
    }
    i = std::max(end, i + 1);
  }
  return joined(series, first, values, runs);
}

}  // namespace shmif::perf
