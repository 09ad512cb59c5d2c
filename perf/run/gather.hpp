#pragma once
// From what the jobs left in memory to what is told of them.

#include <cstdint>
#include <span>

#include "perf/run/controlled_job.hpp"
#include "perf/run/progress.hpp"
#include "perf/run/run_memory.hpp"
#include "perf/run/run_result.hpp"

namespace shmif::perf {

/// Fills in jobs, groups, links, failures and exit code of `result`, once every job is over.
void gather(std::span<const ControlledJob> jobs, RunMemory& memory, RunResult& result);

/// Of a run that goes on.
IntervalResult read_interval(const IntervalBlock& block);
JobProgress progress_of(std::span<const ControlledJob> jobs, std::size_t number);
/// How much is done, and how long it will take, where jobs have a runtime.
void estimate_end(std::span<const ControlledJob> jobs, std::uint64_t now_ns, RunProgress& progress);
std::uint64_t status_interval_ns(const RunOptions& options) noexcept;

}  // namespace shmif::perf
