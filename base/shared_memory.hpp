#pragma once
// Memory that a process shares with its children, with others through a file, or with the kernel.
//
// SharedMemory uses Boost.Interprocess. The bus is mapped by mmap: see docs/decisions.md.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/result.hpp"

namespace shmif::base {

/// Readable and writable. Children of fork inherit it. Threads: the object, one at a time; the
/// memory, any. Blocks: never.
class SharedMemory {
 public:
  /// New memory, filled with zeros and not backed by a file. `what` begins the message of an error:
  /// "cannot get memory for a run". Errors: an errno.
  static Result<SharedMemory> anonymous(std::size_t bytes, const std::string& what);
  /// The first bytes of the file behind `fd`, which may be closed afterwards. The file must have
  /// them, and must not be truncated later. Errors: an errno.
  static Result<SharedMemory> of_file(int fd, std::size_t bytes, const std::string& what);
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&&) = delete;
  ~SharedMemory();

  /// The address, a multiple of the page size; nullptr if it holds no memory.
  void* data() const noexcept;

 private:
  struct Region;
  SharedMemory() noexcept;
  template <class Source>
  static Result<SharedMemory> map(const Source& source, const std::string& what);
  std::unique_ptr<Region> region_;
};

/// A mapping of the memory that a ring shares with the kernel, such as that of an io_uring or of a
/// packet socket.
class RingMemory {
 public:
  RingMemory() = default;
  /// `offset` is one of IORING_OFF_*; 0 for a packet socket.
  RingMemory(int fd, std::size_t size, std::int64_t offset) noexcept
      : memory_(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset)),
        size_(size) {}
  RingMemory(const RingMemory&) = delete;
  RingMemory& operator=(const RingMemory&) = delete;
  RingMemory& operator=(RingMemory&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~RingMemory() {
    if (*this) munmap(memory_, size_);
  }
  explicit operator bool() const noexcept { return memory_ != MAP_FAILED; }
  template <class T>
  T& at(std::size_t offset) const noexcept {
    return *reinterpret_cast<T*>(static_cast<std::byte*>(memory_) + offset);
  }

 private:
  void* memory_ = MAP_FAILED;
  std::size_t size_ = 0;
};

}  // namespace shmif::base
