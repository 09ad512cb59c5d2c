#pragma once
// A load on the memory: threads fill buffers larger than the caches, as fast as they can.

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "perf/membw/fill_counts.hpp"

namespace shmif::perf {

/// What a thread does in a round.
enum class FillOperation {
  copy,   ///< fills one half of its buffer with a pattern, and copies it to the other half
  read,   ///< reads its buffer
  write,  ///< fills its buffer with a pattern
};

struct FillOptions {
  unsigned threads = 0;  ///< 0: one for each CPU that this process may use
  std::uint64_t buffer_bytes =
      0;  ///< of each thread; 0: well above its share of the last-level cache
  FillCounts* counts = nullptr;  ///< null if there is no observer
  FillOperation operation = FillOperation::copy;
  bool once = false;   ///< one round, however long it takes
  bool flush = false;  ///< first write the buffers back to memory and drop them from the caches
  /// With `once` and `counts`: the round begins when the observer calls FillCounts::begin_round.
  /// fill_memory() does not return at once after the round, so that the observer can look at the
  /// process.
  bool takes_turns = false;
};
struct FillResult {
  std::uint64_t bytes = 0;  ///< read and written, together
  double seconds = 0;
  unsigned threads = 0;
  std::uint64_t buffer_bytes = 0;
};

/// Reads the description of a load: "fill:size=250M,op=read,once,flush". "fill" alone is the usual
/// load. Errors: Errc::bad_argument for other text.
Result<FillOptions> read_fill_load(std::string_view text);
/// The text from which read_fill_load() makes these options, without threads and counts.
std::string fill_load_text(const FillOptions& options);
/// The default size of each thread's buffer. `cache_bytes`: of the last-level cache; 0: not known.
std::uint64_t usual_fill_buffer(std::uint64_t cache_bytes, std::uint64_t machine_bytes,
                                unsigned threads) noexcept;
/// Checks that the buffers fit into this machine's memory, and that its processor supports the
/// options. Errors: ENOMEM; Errc::not_supported.
Result<void> check_fill(const FillOptions& options);

/// Each thread works on its own buffer, again and again. FillOperation::copy writes two bytes for
/// each byte that it reads. Blocks: for `time`, and until the rounds in progress have ended; with
/// `takes_turns`, at most `time` before the round and at most `time` after it. Errors: those of
/// check_fill().
Result<FillResult> fill_memory(std::chrono::nanoseconds time, const FillOptions& options = {});

}  // namespace shmif::perf
