#pragma once
// Makes the result of a run from what the jobs left in the shared memory.

#include <cstddef>
#include <span>
#include <vector>

#include "perf/control/controlled_job.hpp"
#include "perf/result/run_result.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

/// Fills in jobs, groups, links, failures and exit code of `result`. Call it when every job is
/// over.
void gather(std::span<const ControlledJob> jobs, RunResult& result);

/// The flows that end at job number `to`: those that others send to it, and the replies to its own
/// requests. Result: the numbers of their jobs.
std::vector<std::size_t> flows_to(std::span<const ControlledJob> jobs, std::size_t to);
/// What job number `to` counted of the flow of job number `from`; `from` is one of flows_to().
const FlowArrivals& arrivals_of(std::span<const ControlledJob> jobs, std::size_t from,
                                std::size_t to);

}  // namespace shmif::perf
