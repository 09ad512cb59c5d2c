#pragma once
// Counts the allocations of a program. For one source of a program of its own: it defines operator
// new, of which ThreadSanitizer has one, too.

#include <cstddef>
#include <cstdlib>
#include <new>

namespace shmif::test {
/// Of the calling thread.
inline thread_local std::size_t allocations = 0;
}  // namespace shmif::test

// Counts; otherwise as the ones of the library.
void* operator new(std::size_t bytes) {
  ++shmif::test::allocations;
  void* const memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t /*bytes*/) noexcept {
  std::free(memory);
}
