#pragma once
// What a reader of figures must know about them, found in the figures themselves.

#include <string>
#include <vector>

#include "perf/run/run_result.hpp"

namespace shmif::perf {

/// From this share of the harness's own limit on, a result says more about the harness than about
/// the medium.
inline constexpr double kNearLimit = 0.8;

/// What a job moved in a second, the greater direction; nothing without a measured window.
std::optional<double> rate_fps_of(const JobResult& job) noexcept;
/// A rate as a share of what the harness can do at all; nothing when either is not known.
std::optional<double> share_of_limit(std::optional<double> rate,
                                     std::optional<double> limit) noexcept;
std::optional<double> limit_share_of(const JobResult& job) noexcept;

/// A sentence for each job and each search near the harness's own limit, for each CPU whose time
/// somebody else had (steal), and one for all jobs that were often taken off their CPUs.
std::vector<std::string> warnings_from(const RunResult& result);

}  // namespace shmif::perf
