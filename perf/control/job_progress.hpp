#pragma once
// Progress of the jobs, as the controller sees it while they run. Internal to perf/control.

#include <cstdint>
#include <span>

#include "perf/control/controlled_job.hpp"
#include "perf/result/progress.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

/// All jobs and the run as a whole, `at_seconds` after the common start. `last` has each job's
/// newest interval. The time left is known if runtime, number_ios or size limits every sender. A
/// job that waits for others gets its runtime in addition to theirs.
RunProgress progress_of(std::span<const ControlledJob> jobs, double at_seconds,
                        std::uint64_t now_ns);

std::uint64_t status_interval_ns(const RunOptions& options) noexcept;

}  // namespace shmif::perf
