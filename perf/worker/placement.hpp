#pragma once
// Where a job runs and with which rights: CPUs, priority, memory, user.

#include <cstdint>
#include <span>

#include "base/result.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

/// Gives the calling thread (of a process job: the process) the CPUs, nice value, I/O priority,
/// SCHED_FIFO, NUMA node and cgroup that `job` asks for, before its devices are opened. Errors:
/// what could not be set, and why; not_supported if this kernel has no such feature.
Result<void> take_place(const JobOptions& job);

/// Drops supplementary groups, then the group, then the user, if `job` names a group or user. Call
/// it when the job's devices are open, and only in a process job. Errors: unknown names,
/// permissions.
Result<void> drop_privileges(const JobOptions& job);

/// Locks `memory` against paging. Errors: an errno, with the limit that was exceeded.
Result<void> pin(std::span<std::byte> memory);

/// Maps the pages that a forked job will use, so that its first frame causes no page faults: all
/// code, or `memory` for writing. Threads: any. Blocks: a few hundred microseconds.
void map_code_ahead() noexcept;
void map_ahead(std::span<std::byte> memory) noexcept;

}  // namespace shmif::perf
