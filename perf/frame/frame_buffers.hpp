#pragma once
// FrameBuffers: memory that frames are made in, in huge pages where that is asked for.

#include <cstddef>
#include <span>

namespace shmif::perf {

/// Zeroed, page by page when first written. Threads: as any memory.
class FrameBuffers {
 public:
  /// `huge`: in pages of 2 MiB, reserved ones (vm.nr_hugepages) or else transparent ones. Throws
  /// std::system_error when there is no memory, or when huge pages are switched off on this
  /// machine.
  explicit FrameBuffers(std::size_t bytes, bool huge = false);
  FrameBuffers(FrameBuffers&& other) noexcept;
  FrameBuffers& operator=(FrameBuffers&& other) noexcept;
  ~FrameBuffers();

  std::byte* data() const noexcept { return memory_.data(); }
  std::span<std::byte> bytes() const noexcept { return memory_; }

 private:
  std::span<std::byte> mapping_, memory_;  // the second within the first
};

}  // namespace shmif::perf
