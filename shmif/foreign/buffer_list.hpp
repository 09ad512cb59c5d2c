#pragma once
// Buffers in memory that another program shares: a frame may take several of them.

#include <cstddef>
#include <span>

namespace shmif {

/// A part of the shared memory that the other program has lent to us.
struct Buffer {
  std::byte* data = nullptr;
  std::size_t bytes = 0;
};

/// Copies between private bytes and a list of buffers, from the first buffer on. Threads: one at a
/// time; the program that lent the buffers may write there at any time. Blocks: never.
class BufferCursor {
 public:
  explicit BufferCursor(std::span<const Buffer> buffers) noexcept : buffers_(buffers) {}
  /// Both stop at the end of the last buffer. Result: how many bytes were copied.
  std::size_t write(std::span<const std::byte> from) noexcept;
  std::size_t read(std::span<std::byte> into) noexcept;

 private:
  std::span<std::byte> piece(std::size_t bytes) noexcept;

  std::span<const Buffer> buffers_;
  std::size_t at_ = 0;  // in the first of them
};

}  // namespace shmif
