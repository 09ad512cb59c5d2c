#pragma once
// Memory that a target shares with the code under test, as another program would.

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "base/unique_fd.hpp"
#include "tests/fuzz/bus_image.hpp"

namespace shmif::fuzz {

/// A memfd of kBytes, mapped. Made once in a process.
template <std::size_t kBytes>
struct TrappedMemory {
  UniqueFd file{::memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  std::byte* base = nullptr;

  TrappedMemory() {
    require(::ftruncate(file.get(), kBytes) == 0, "no memory");
    void* const at = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    require(at != MAP_FAILED, "no mapping");
    base = static_cast<std::byte*>(at);
    leave_a_trap();
  }
  void clear() const noexcept { std::memset(base, 0, kBytes); }

  /// Leaves a hole among the mappings that is just as large as the memory, with pages behind it
  /// that nobody may access. The kernel puts each new mapping into the highest hole where it fits,
  /// so the link's is put there, and an access beyond its end ends the run.
  static void leave_a_trap() {
    const auto forbidden = [](std::size_t bytes) {
      void* const at = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      require(at != MAP_FAILED, "no mapping");
      return static_cast<std::byte*>(at);
    };
    constexpr std::size_t kTrapBytes = std::size_t{1} << 20U;
    constexpr unsigned kHigherHoles = 1000;
    std::byte* const hole = forbidden(kBytes + kTrapBytes);
    for (unsigned i = 0; i < kHigherHoles; ++i) {  // they stay filled
      std::byte* const other = forbidden(kBytes);
      if (other > hole) continue;
      ::munmap(other, kBytes);
      break;
    }
    ::munmap(hole, kBytes);
  }
};

}  // namespace shmif::fuzz
