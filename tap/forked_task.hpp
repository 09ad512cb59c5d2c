#pragma once
// Work that changes the process which does it for ever, so that a child process does it: entering a
// namespace, giving up rights.

#include <functional>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::tap {

/// Returns descriptors to hand out, in an order that it chooses.
using ForkedTask = std::function<Result<std::vector<UniqueFd>>()>;

/// Runs `task` in a forked child, and returns the descriptors that it returned (at most 16). The
/// child must not touch locks that other threads may hold. Threads: safe. Blocks: until the task is
/// done. Errors: the task's own, with at most 4000 bytes of its message; those of fork(2).
Result<std::vector<UniqueFd>> run_forked(const ForkedTask& task);

}  // namespace shmif::tap
