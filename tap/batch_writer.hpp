#pragma once
// BatchWriter: writes many frames to one device in one system call, through io_uring.
//
// The gain is not in fewer system calls, but in what happens at the end of each. A frame written to
// a TAP device wakes a waiter, and the kernel takes the CPU from the writer when the system call
// returns. Once per batch is enough (docs/decisions.md).

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/shared_memory.hpp"
#include "base/unique_fd.hpp"

namespace shmif::tap {

/// Threads: one at a time.
class BatchWriter {
 public:
  static constexpr unsigned kMaxFrames = 64;

  /// Result: false if the kernel has no io_uring, or forbids it.
  bool open() noexcept;

  /// Writes `frames`, at most kMaxFrames, in order and each separately, as writev() does to a
  /// non-blocking descriptor. Afterwards the buffers may be changed. Blocks: never. Result: how
  /// many frames from the front were written or tried; results[i] is what writev() returns, or the
  /// negative errno. If the result is smaller than the number of frames, the caller must write the
  /// rest itself, and also all later frames.
  std::size_t write(int fd, std::span<const std::span<const iovec>> frames,
                    std::span<std::int32_t> results) noexcept;

 private:
  void close() noexcept;
  std::size_t take_completions(std::span<std::int32_t> results) noexcept;

  UniqueFd fd_;
  base::RingMemory rings_, entries_;
  // Offsets in rings_.
  std::uint32_t sq_tail_ = 0, sq_array_ = 0, cq_head_ = 0, cq_tail_ = 0, cq_entries_ = 0;
  std::uint32_t sq_mask_ = 0, cq_mask_ = 0;
};

}  // namespace shmif::tap
