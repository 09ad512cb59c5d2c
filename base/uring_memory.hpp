#pragma once
// UringMemory: a mapping of the memory that an io_uring shares with the kernel.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace shmif::base {

class UringMemory {
 public:
  UringMemory() = default;
  /// `offset` is one of IORING_OFF_*.
  UringMemory(int fd, std::size_t size, std::int64_t offset) noexcept
      : memory_(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset)),
        size_(size) {}
  UringMemory(const UringMemory&) = delete;
  UringMemory& operator=(const UringMemory&) = delete;
  UringMemory& operator=(UringMemory&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~UringMemory() {
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
