#pragma once
// What the controller makes of the counts that jobs leave in the shared memory: their progress, the
// result of the run, and whether a job passed. Internal to perf/control.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "perf/control/run_state.hpp"
#include "perf/result/progress.hpp"
#include "perf/result/run_result.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

/// All jobs and the run as a whole, `at_seconds` after the common start. `last` has each job's
/// newest interval. The time left is known if runtime, number_ios or size limits every sender. A
/// job that waits for others gets its runtime in addition to theirs.
RunProgress progress_of(std::span<const ControlledJob> jobs, double at_seconds,
                        std::uint64_t now_ns);
std::uint64_t status_interval_ns(const RunOptions& options) noexcept;

/// Fills in jobs, groups, links, failures and exit code of `result`. Call it when every job is
/// over.
void gather(std::span<const ControlledJob> jobs, RunResult& result);

/// The flows that end at job number `to`: those that others send to it, and the replies to its own
/// requests. Result: the numbers of their jobs.
std::vector<std::size_t> flows_to(std::span<const ControlledJob> jobs, std::size_t to);
/// What job number `to` counted of the flow of job number `from`; `from` is one of flows_to().
const FlowArrivals& arrivals_of(std::span<const ControlledJob> jobs, std::size_t from,
                                std::size_t to);

/// Adds the reasons why the job fails, besides those that it gave itself: counts that differ;
/// frames whose fates do not add up; no frame moved; in the measured window, it sent no frame, or
/// received no frame although some were sent to it. Then sets whether it passed. `has_faults`: the
/// run was asked to lose or delay frames, so it is not a failure to lose all of them.
void judge(const ControlledJob& job, JobResult& result, bool has_faults = false);

}  // namespace shmif::perf
