#pragma once
// FrameBuffers: memory in which frames are made, in huge pages on request.

#include <cstddef>
#include <span>

namespace shmif::perf {

/// Zero-filled; the kernel adds each page when it is first written. Threads: as any memory.
class FrameBuffers {
 public:
  /// `huge`: uses pages of 2 MiB, reserved ones (vm.nr_hugepages) or otherwise transparent ones.
  /// Throws std::system_error if there is no memory, or if huge pages are switched off on this
  /// machine.
  explicit FrameBuffers(std::size_t bytes, bool huge = false);
  FrameBuffers(FrameBuffers&& other) noexcept;
  FrameBuffers& operator=(FrameBuffers&&) = delete;
  ~FrameBuffers();

  std::byte* data() const noexcept { return memory_.data(); }
  std::span<std::byte> bytes() const noexcept { return memory_; }

 private:
  std::span<std::byte> mapping_, memory_;  // the second lies within the first
};

}  // namespace shmif::perf
