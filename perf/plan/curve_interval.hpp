#pragma once
// How long the intervals of a run's curves and logs are.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <span>
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

/// The options that say which logs have the figures of a job: its own, or for a peer, those of the
/// job that it was made for. Threads: any. Blocks: never.
inline const JobOptions& log_options(std::span<const PlannedJob> plan, const PlannedJob& job) {
  if (job.peer_of.empty()) return job.options;
  const auto writer = std::ranges::find_if(
      plan, [&job](const PlannedJob& each) { return each.options.name == job.peer_of; });
  return writer == plan.end() ? job.options : writer->options;
}

/// The intervals of a job with these log_options(), at most as long as those of the curves: a whole
/// number of them makes a line of each log. Threads: any. Blocks: never.
inline std::chrono::nanoseconds interval_of(const JobOptions& job, std::chrono::nanoseconds curve) {
  const bool averages =
      !job.write_bw_log.empty() || !job.write_iops_log.empty() || !job.write_lat_log.empty();
  const bool histograms = !job.write_hist_log.empty();
  if (!averages && !histograms) return curve;
  // If there are two, one is a multiple of the other.
  const std::chrono::nanoseconds line = !histograms ? job.log_avg
                                        : !averages ? job.log_hist
                                                    : std::min(job.log_avg, job.log_hist);
  const auto parts = (line + curve - std::chrono::nanoseconds(1)) / curve;
  return line / std::max<std::int64_t>(parts, 1);
}

}  // namespace shmif::perf
