#pragma once
// What the controller can say of its jobs while they run. Internal to perf/run.

#include <cstdint>
#include <span>

#include "perf/run/controlled_job.hpp"
#include "perf/run/progress.hpp"
#include "perf/run/run_memory.hpp"

namespace shmif::perf {

IntervalResult read_interval(const IntervalBlock& block);

/// All jobs and the run as a whole, `at_seconds` after the common start; the newest interval of
/// each in `last`. Time left is known where runtime, number_ios or size limit all who send, and
/// jobs that wait for others are given their runtime on top.
RunProgress progress_of(std::span<const ControlledJob> jobs, double at_seconds,
                        std::uint64_t now_ns);

std::uint64_t status_interval_ns(const RunOptions& options) noexcept;

}  // namespace shmif::perf
