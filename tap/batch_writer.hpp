#pragma once
// BatchWriter: writes many frames to one device in one system call, through io_uring.
//
// What is saved is less the system calls than what happens at the end of each: a frame written to a
// TAP device wakes whoever waits for it, and the kernel gives the CPU away when the writer returns
// to its program. Once for a batch is enough (docs/decisions.md).

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bus/unique_fd.hpp"
#include "bus/uring_memory.hpp"

namespace shmif::tap {

/// Threads: one at a time.
class BatchWriter {
 public:
  static constexpr unsigned kMostFrames = 64;

  /// Result: false where the kernel has no io_uring, or forbids it.
  bool open() noexcept;

  /// Writes each of `frames`, at most kMostFrames, as by writev() to a descriptor that does not
  /// block: in their order, each by itself. What the buffers hold may change afterwards.
  /// Blocks: never. Result: how many from the front were written, or tried, with results[i] as
  /// writev() has it, or the errno, negative. Fewer than all, or none: the rest is the caller's to
  /// write, and so is all that comes later.
  std::size_t write(int fd, std::span<const std::span<const iovec>> frames,
                    std::span<std::int32_t> results) noexcept;

 private:
  void close() noexcept;
  std::size_t take_completions(std::span<std::int32_t> results) noexcept;

  UniqueFd fd_;
  bus::UringMemory rings_, entries_;
  // Where in rings_.
  std::uint32_t sq_tail_ = 0, sq_array_ = 0, cq_head_ = 0, cq_tail_ = 0, cq_entries_ = 0;
  std::uint32_t sq_mask_ = 0, cq_mask_ = 0;
};

}  // namespace shmif::tap
