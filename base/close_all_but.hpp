#pragma once
// What a child process closes of what it inherited.

#include <initializer_list>

namespace shmif::base {

/// Closes every descriptor from number `first` on, except `kept`: eight at most, and negative
/// numbers stand for none. Threads: safe, also in a child that a process with threads has made
/// (async-signal-safe). Blocks: as close(2) of what is closed.
void close_all_but(std::initializer_list<int> kept, int first) noexcept;

}  // namespace shmif::base
