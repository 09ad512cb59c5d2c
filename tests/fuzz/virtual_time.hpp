#pragma once
// Time in the fuzzed program is our own: whoever sleeps, or waits for a futex or a descriptor,
// finds at once that so much time has passed. So patience that takes 100 ms costs nothing, and a
// sleep that nobody would ever end is found. While a child process runs, which may answer, a wait
// for a descriptor takes up to a second; one for the reader of standard output takes up to ten. The
// wall clock stays what it is.

#include <cstdint>

namespace shmif::fuzz {

/// Nanoseconds slept so far.
std::uint64_t time_slept() noexcept;

}  // namespace shmif::fuzz
