#include "bus/file/mapping.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/fork_guard.hpp"
#include "bus/file/memory.hpp"
#include "bus/file/parts.hpp"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace shmif::bus {
namespace {

constexpr std::size_t kGuardBytes = 128U << 10U;  // more than a record; a multiple of every page
static_assert(kGuardBytes > kRecordHeaderBytes + kSuperFrameRecord);
// A bus can be opened on a machine with pages of another size than where it was made.
constexpr std::size_t kMaxPageBytes = 64U << 10U;  // of arm64
static_assert(kRingOffset % kMaxPageBytes == 0 && kMinRingBytes % kMaxPageBytes == 0 &&
              kGuardBytes % kMaxPageBytes == 0);

/// Reserves address space for `span` bytes, with guards on both sides. The span begins where huge
/// pages may begin. Result: its address; nullptr, and errno, on failure.
std::byte* reserve(std::size_t span) noexcept {
  const std::size_t size = span + 2 * kGuardBytes + kHugePageBytes;
  void* const reserved =
      mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return nullptr;
  auto* const begin = static_cast<std::byte*>(reserved);
  std::byte* const base = align_for_huge_pages(begin + kGuardBytes);
  const auto spare = static_cast<std::size_t>(base - kGuardBytes - begin);
  if (spare > 0) munmap(begin, spare);
  munmap(base + span + kGuardBytes, kHugePageBytes - spare);
  return base;
}

/// Write-faults every page. MAP_POPULATE would only read-fault a shared file mapping, and on a disk
/// file system each page would fault again at its first write. Older kernels fault at first use,
/// which is only slower.
void prefault(std::byte* base, std::uint64_t ring_bytes) noexcept {
  static_cast<void>(madvise(base, kRingOffset + ring_bytes, MADV_POPULATE_WRITE));
  static_cast<void>(madvise(base + kRingOffset + ring_bytes, ring_bytes, MADV_POPULATE_WRITE));
}

}  // namespace

Result<Mapping> Mapping::map(int fd, std::uint64_t ring_bytes, Access access, bool lock_memory) {
  if (base::process_token() == 0) {
    return Error::from_errno(errno, "cannot tell forked children from their parent");
  }
  struct stat status{};
  if (fstat(fd, &status) != 0) return Error::from_errno(errno, "cannot query the file");
  const std::size_t span = mapped_bytes(ring_bytes);
  Mapping m;
  m.base_ = reserve(span);
  if (m.base_ == nullptr) {
    return Error::from_errno(errno,
                             "cannot reserve " + std::to_string(span) + " bytes of address space");
  }
  m.file_ = FileId::of(status);
  m.ring_bytes_ = ring_bytes;
  const int protection = access == Access::read_write ? PROT_READ | PROT_WRITE : PROT_READ;
  const std::size_t once = kRingOffset + ring_bytes;
  if (mmap(m.base_, once, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
      mmap(m.base_ + once, ring_bytes, protection, MAP_SHARED | MAP_FIXED, fd, kRingOffset) ==
          MAP_FAILED) {
    return Error::from_errno(errno, "cannot map the bus");
  }
  if (madvise(m.base_, span, MADV_DONTFORK) != 0) {
    // A child that inherits the mapping would keep a dead port alive.
    return Error::from_errno(errno, "cannot hide the bus from forked children");
  }
  static_cast<void>(madvise(m.base_, span, MADV_DONTDUMP));
  m.guard_ = std::make_unique<GuardedRange>(m.base_, span);
  if (!m.guard_->is_watched())
    return Error::from_errno(ENOMEM, "cannot guard the bus against a truncation of its file");
  if (access == Access::read_write) prefault(m.base_, ring_bytes);
  // Lock each page once: the ring's second view has the same pages, and the limit counts both.
  if (lock_memory) {
    if (auto locked = lock_in_memory(m.base_, once); !locked) return locked.error();
  }
  return m;
}

void Mapping::reset() noexcept {
  guard_.reset();
  if (base_ != nullptr) munmap(base_ - kGuardBytes, mapped_bytes(ring_bytes_) + 2 * kGuardBytes);
  base_ = nullptr;
}

void Mapping::look_whether_lost() const noexcept {
  if (base_ == nullptr || lost() || !sigbus_guard_is_installed()) return;
  static_cast<void>(*static_cast<volatile std::byte*>(ring() + ring_bytes_ - 1));
}

}  // namespace shmif::bus
