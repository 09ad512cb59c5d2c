#pragma once
// Tells a process from the child it forked. The child has no mapping of the bus (MADV_DONTFORK), so
// no call may touch it.

#include <cstdint>

namespace shmif::bus {

/// A token of this process, to be kept in an object. Threads: safe. Result: 0, and errno, when
/// there is no memory for the page that tells processes apart; then nothing may be attached.
std::uint64_t process_token() noexcept;

/// Whether the token was drawn in this very process. Costs one load. Threads: safe.
bool is_this_process(std::uint64_t token) noexcept;

}  // namespace shmif::bus
