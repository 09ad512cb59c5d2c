#pragma once
// Closes the descriptors that a child process inherited.

#include <initializer_list>

namespace shmif::base {

/// Closes every descriptor from number `first` on, except those in `kept`: at most eight; negative
/// numbers there are ignored. Threads: safe, also in the child of a process with threads
/// (async-signal-safe). Blocks: as close(2) does for each descriptor.
void close_all_but(std::initializer_list<int> kept, int first) noexcept;

}  // namespace shmif::base
