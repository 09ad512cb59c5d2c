#pragma once
// RingMemory: a mapping of the memory that a ring shares with the kernel, such as that of an
// io_uring or of a packet socket.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace shmif::base {

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
