#pragma once
// A load on the memory: threads that fill buffers larger than the caches, as fast as they can.

#include <chrono>
#include <cstdint>

#include "base/result.hpp"
#include "perf/membw/fill_counts.hpp"

namespace shmif::perf {

struct FillOptions {
  unsigned threads = 0;            ///< 0: one for each CPU that this process may use
  std::uint64_t buffer_bytes = 0;  ///< of each thread; 0: well above the share of the last cache
  FillCounts* counts = nullptr;    ///< null: nobody looks meanwhile
};
struct FillResult {
  std::uint64_t bytes = 0;  ///< that were read and written
  double seconds = 0;
  unsigned threads = 0;
  std::uint64_t buffer_bytes = 0;
};

/// Each thread fills one half of its buffer with a pattern and copies it to the other half, again
/// and again: of three bytes, one is read and two are written. Blocks: for that time, and until the
/// rounds in progress have ended. Errors: ENOMEM.
Result<FillResult> fill_memory(std::chrono::nanoseconds time, const FillOptions& options = {});

}  // namespace shmif::perf
