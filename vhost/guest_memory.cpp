#include "vhost/guest_memory.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <limits>
#include <optional>
#include <string>

#include "bus/file/sigbus_guard.hpp"

namespace shmif::vhost {
namespace {

/// What all machines of this process may map together, so that none of them uses up its addresses
/// with files that have no pages. No machine has that much memory.
constexpr std::uint64_t kMaxMappedBytes = std::uint64_t{16} << 40U;
std::atomic<std::uint64_t> mapped_bytes{0};

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

bool wraps(std::uint64_t from, std::uint64_t bytes) noexcept {
  return bytes > kMost - from;
}

bool overlap(std::uint64_t a, std::uint64_t a_bytes, std::uint64_t b,
             std::uint64_t b_bytes) noexcept {
  return a < b + b_bytes && b < a + a_bytes;
}

Error bad_region(std::size_t number, const std::string& why) {
  return {Errc::bad_argument, "memory region " + std::to_string(number) + ' ' + why};
}

/// Errors: bad_argument.
Result<void> check_addresses(std::span<const MemoryRegion> regions) {
  for (std::size_t i = 0; i < regions.size(); ++i) {
    const MemoryRegion& r = regions[i];
    if (r.bytes == 0) return bad_region(i, "is empty");
    if (wraps(r.guest_address, r.bytes) || wraps(r.user_address, r.bytes) ||
        wraps(r.file_offset, r.bytes))
      return bad_region(i, "does not fit the address space");
    for (const MemoryRegion& other : regions.first(i)) {
      if (overlap(r.guest_address, r.bytes, other.guest_address, other.bytes) ||
          overlap(r.user_address, r.bytes, other.user_address, other.bytes))
        return bad_region(i, "overlaps another");
    }
  }
  return {};
}

}  // namespace

/// One region. The mapping begins with the page of the file in which the region begins.
class GuestMemory::Mapping {
 public:
  /// `before`: bytes of the mapping before the region.
  Mapping(const MemoryRegion& region, std::byte* base, std::size_t mapped, std::uint64_t before)
      : region_(region), base_(base), mapped_(mapped), before_(before) {
    mapped_bytes += mapped_;
    guard_.emplace(base, mapped);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    guard_.reset();  // first: the addresses may be another mapping's at once
    ::munmap(base_, mapped_);
    mapped_bytes -= mapped_;
  }

  bool is_guarded() const noexcept { return guard_->is_watched(); }
  bool lost() const noexcept { return guard_->lost(); }
  /// Result: nullptr if not all bytes lie in it. `from`: the region's own address of that kind.
  std::byte* at(std::uint64_t from, std::uint64_t address, std::uint64_t bytes) const noexcept {
    if (address < from || address - from > region_.bytes) return nullptr;
    if (bytes > region_.bytes - (address - from)) return nullptr;
    return base_ + before_ + (address - from);
  }
  const MemoryRegion& region() const noexcept { return region_; }

 private:
  MemoryRegion region_;
  std::byte* base_;
  std::size_t mapped_;
  std::uint64_t before_;
  std::optional<bus::GuardedRange> guard_;
};

GuestMemory::GuestMemory() noexcept = default;
GuestMemory::GuestMemory(GuestMemory&&) noexcept = default;
GuestMemory& GuestMemory::operator=(GuestMemory&&) noexcept = default;
GuestMemory::~GuestMemory() = default;

Result<GuestMemory> GuestMemory::map(std::span<const MemoryRegion> regions,
                                     std::span<const UniqueFd> descriptors) {
  if (regions.size() > kMaxRegions || regions.size() != descriptors.size()) {
    return Error(Errc::bad_argument, std::to_string(regions.size()) + " memory regions with " +
                                         std::to_string(descriptors.size()) + " descriptors");
  }
  if (auto checked = check_addresses(regions); !checked) return std::move(checked).error();
  GuestMemory memory;
  memory.mappings_.reserve(regions.size());
  for (std::size_t i = 0; i < regions.size(); ++i) {
    const MemoryRegion& r = regions[i];
    struct stat status{};
    if (::fstat(descriptors[i].get(), &status) != 0)
      return Error::from_errno(errno, "cannot look at memory region " + std::to_string(i));
    const auto size = static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0));
    if (!S_ISREG(status.st_mode) || r.file_offset + r.bytes > size)
      return bad_region(i, "is not in a file of that size");
    // munmap wants whole huge pages, whose size is the block size of such a file.
    const auto page = static_cast<std::uint64_t>(std::max<blksize_t>(status.st_blksize, 4096));
    const std::uint64_t before = r.file_offset % page;
    const std::uint64_t mapped = (before + r.bytes + page - 1) / page * page;
    if (mapped == 0 || mapped < r.bytes ||
        mapped > kMaxMappedBytes - std::min(kMaxMappedBytes, mapped_bytes.load()))
      return bad_region(i, "does not fit the address space");
    void* const base = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                              descriptors[i].get(), static_cast<off_t>(r.file_offset - before));
    if (base == MAP_FAILED)
      return Error::from_errno(errno, "cannot map memory region " + std::to_string(i));
    memory.mappings_.push_back(
        std::make_unique<Mapping>(r, static_cast<std::byte*>(base), mapped, before));
    if (!memory.mappings_.back()->is_guarded())
      return Error::from_errno(ENOMEM, "cannot watch memory region " + std::to_string(i));
  }
  return memory;
}

std::byte* GuestMemory::at_guest(std::uint64_t address, std::uint64_t bytes) const noexcept {
  for (const auto& mapping : mappings_) {
    std::byte* const found = mapping->at(mapping->region().guest_address, address, bytes);
    if (found != nullptr) return found;
  }
  return nullptr;
}

std::byte* GuestMemory::at_user(std::uint64_t address, std::uint64_t bytes) const noexcept {
  for (const auto& mapping : mappings_) {
    std::byte* const found = mapping->at(mapping->region().user_address, address, bytes);
    if (found != nullptr) return found;
  }
  return nullptr;
}

bool GuestMemory::lost() const noexcept {
  return std::ranges::any_of(mappings_, [](const auto& m) { return m->lost(); });
}

}  // namespace shmif::vhost
