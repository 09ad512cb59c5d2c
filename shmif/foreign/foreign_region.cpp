#include "shmif/foreign/foreign_region.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <utility>

namespace shmif {
namespace {

/// "16 TiB", "513 GiB", "4 KiB": rounded up.
std::string foreign_size_text(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{" bytes", " KiB", " MiB", " GiB", " TiB"};
  constexpr unsigned kStep = 10;
  std::size_t unit = 0;
  while (unit + 1 < kUnits.size() && bytes >> ((unit + 1) * kStep) >= 1) ++unit;
  const unsigned shift = static_cast<unsigned>(unit) * kStep;
  const std::uint64_t rest = bytes & ((std::uint64_t{1} << shift) - 1);
  return std::to_string((bytes >> shift) + (rest == 0 ? 0 : 1)) + kUnits[unit];
}

}  // namespace

Result<void> check_foreign_bytes(std::uint64_t asked, std::uint64_t most) {
  if (asked <= most) return {};
  return Error(Errc::bad_argument, "its memory asks for " + foreign_size_text(asked) +
                                       ", and the limit for one peer is " +
                                       foreign_size_text(most));
}

ForeignRegion::ForeignRegion(std::byte* base, std::size_t mapped, std::uint64_t before,
                             std::uint64_t bytes)
    : base_(base),
      mapped_(mapped),
      before_(before),
      bytes_(bytes),
      guard_(std::make_unique<bus::GuardedRange>(base, mapped)) {}

ForeignRegion::ForeignRegion(ForeignRegion&& other) noexcept
    : base_(other.base_),
      mapped_(std::exchange(other.mapped_, 0)),
      before_(other.before_),
      bytes_(std::exchange(other.bytes_, 0)),
      guard_(std::move(other.guard_)) {}

ForeignRegion::~ForeignRegion() {
  if (mapped_ == 0) return;
  guard_.reset();  // first: another mapping may get these addresses at once
  ::munmap(base_, mapped_);
}

Result<ForeignRegion> ForeignRegion::map(int file, std::uint64_t offset, std::uint64_t bytes,
                                         const std::string& name) {
  const auto refused = [&](const char* why) { return Error(Errc::bad_argument, name + ' ' + why); };
  constexpr const char* kNoRoom = "does not fit the address space";
  if (bytes == 0) return refused("is empty");
  if (bytes > std::numeric_limits<std::uint64_t>::max() - offset) return refused(kNoRoom);
  // This check comes first: in a file system that the program runs itself (FUSE), fstat and mmap
  // may wait without end. Only files in memory have seals.
  if (::fcntl(file, F_GET_SEALS) < 0)
    return refused("is in no file in memory (memfd, tmpfs or hugetlbfs)");
  struct stat status{};
  if (::fstat(file, &status) != 0) return Error::from_errno(errno, "cannot look at " + name);
  const auto size = static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0));
  if (!S_ISREG(status.st_mode) || offset + bytes > size)
    return refused("is not in a file of that size");
  // munmap takes only whole huge pages, whose size is the block size of such a file.
  const auto page = static_cast<std::uint64_t>(std::max<blksize_t>(status.st_blksize, 4096));
  const std::uint64_t before = offset % page;
  const std::uint64_t mapped = (before + bytes + page - 1) / page * page;
  if (mapped == 0 || mapped < bytes) return refused(kNoRoom);
  void* const base = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                            file, static_cast<off_t>(offset - before));
  if (base == MAP_FAILED) return Error::from_errno(errno, "cannot map " + name);
  (void)::madvise(base, mapped, MADV_DONTFORK);  // a child may outlive the program's connection
  ForeignRegion region(static_cast<std::byte*>(base), mapped, before, bytes);
  if (!region.guard_->is_watched()) return Error::from_errno(ENOMEM, "cannot watch " + name);
  return region;
}

}  // namespace shmif
