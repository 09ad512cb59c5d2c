#pragma once
// Keeping the pages of a bus in memory.

#include <cstddef>

#include "base/result.hpp"

namespace shmif::bus {

/// mlock() of `bytes` at `base`, the mapping of a bus. Errors: those of mlock(); the message says
/// how much the process may lock, and what to do. Threads: any. Blocks: while pages are read in.
Result<void> lock_in_memory(const std::byte* base, std::size_t bytes);

}  // namespace shmif::bus
