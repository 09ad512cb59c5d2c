#pragma once
// How long the intervals of a run's curves are.

#include <algorithm>
#include <chrono>
#include <vector>

#include "perf/plan/plan.hpp"

namespace shmif::perf {

/// The same for all jobs of a plan. The curves have a few hundred points: ten a second if the
/// longest `runtime` is at most a minute, one a second if it is longer or if no job has one. Logs
/// may divide the intervals of their jobs further. Threads: any. Blocks: never.
inline std::chrono::nanoseconds curve_interval(const std::vector<PlannedJob>& plan) {
  std::chrono::nanoseconds longest{0};
  for (const PlannedJob& job : plan) longest = std::max(longest, job.options.runtime);
  const bool is_short = longest.count() != 0 && longest <= std::chrono::minutes(1);
  return is_short ? std::chrono::milliseconds(100) : std::chrono::milliseconds(1000);
}

}  // namespace shmif::perf
