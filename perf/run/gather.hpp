#pragma once
// From what the jobs left in memory to what is told of them.

#include <cstddef>
#include <span>
#include <vector>

#include "perf/run/controlled_job.hpp"
#include "perf/run/run_memory.hpp"
#include "perf/run/run_result.hpp"

namespace shmif::perf {

/// Fills in jobs, groups, links, failures and exit code of `result`, once every job is over.
void gather(std::span<const ControlledJob> jobs, RunMemory& memory, RunResult& result);

/// The flows that end at job number `to`, by the jobs that they are of: what is sent to it, and the
/// replies to its own requests.
std::vector<std::size_t> flows_to(std::span<const ControlledJob> jobs, std::size_t to);
/// What job number `to` says of the flow of job number `from`, which is one of these.
const FlowArrivals& arrivals_of(std::span<const ControlledJob> jobs, std::size_t from,
                                std::size_t to);

}  // namespace shmif::perf
