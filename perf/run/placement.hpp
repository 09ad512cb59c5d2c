#pragma once
// Where and with what rights a job runs: CPUs, priority, memory, user.

#include <cstdint>
#include <span>

#include "bus/result.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

/// Puts the calling thread (of a process job: the process) where `job` says, before its devices are
/// opened: CPUs, nice value, I/O priority, SCHED_FIFO, NUMA node, cgroup. Errors: what could not be
/// had, and why; not_supported where this kernel has no such thing.
Result<void> take_place(const JobOptions& job);

/// Gives up supplementary groups, then the group, then the user, for those that `job` names. Once
/// its devices are open. Only of a process. Errors: unknown names, permissions.
Result<void> drop_privileges(const JobOptions& job);

/// Keeps `memory` from being paged out. Errors: the system's, with the limit that it met.
Result<void> pin(std::span<std::byte> memory);

/// Maps what a forked job will run through, so that its first frame needs no page faults: all code,
/// or `memory` to be written. Threads: any. Blocks: some hundred microseconds.
void map_code_ahead() noexcept;
void map_ahead(std::span<std::byte> memory) noexcept;

}  // namespace shmif::perf
