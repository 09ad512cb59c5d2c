#include "vhost/guest_memory.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace shmif::vhost {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

bool wraps(std::uint64_t from, std::uint64_t bytes) noexcept {
  return bytes > kMax - from;
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

/// One region.
class GuestMemory::Mapping {
 public:
  Mapping(const MemoryRegion& region, ForeignRegion mapped)
      : region_(region), mapped_(std::move(mapped)) {}

  bool lost() const noexcept { return mapped_.lost(); }
  /// Result: nullptr if not all bytes lie in it. `from`: the region's own address of that kind.
  std::byte* at(std::uint64_t from, std::uint64_t address, std::uint64_t bytes) const noexcept {
    return address < from ? nullptr : mapped_.at(address - from, bytes);
  }
  const MemoryRegion& region() const noexcept { return region_; }

 private:
  MemoryRegion region_;
  ForeignRegion mapped_;
};

GuestMemory::GuestMemory() noexcept = default;
GuestMemory::GuestMemory(GuestMemory&&) noexcept = default;
GuestMemory& GuestMemory::operator=(GuestMemory&&) noexcept = default;
GuestMemory::~GuestMemory() = default;

Result<GuestMemory> GuestMemory::map(std::span<const MemoryRegion> regions,
                                     std::span<const UniqueFd> descriptors, std::uint64_t most) {
  if (regions.size() > kMaxRegions || regions.size() != descriptors.size()) {
    return Error(Errc::bad_argument, std::to_string(regions.size()) + " memory regions with " +
                                         std::to_string(descriptors.size()) + " descriptors");
  }
  if (auto checked = check_addresses(regions); !checked) return std::move(checked).error();
  std::uint64_t asked = 0;
  for (const MemoryRegion& r : regions) asked += std::min(r.bytes, kMax - asked);
  if (auto checked = check_foreign_bytes(asked, most); !checked) return std::move(checked).error();
  GuestMemory memory;
  memory.mappings_.reserve(regions.size());
  for (std::size_t i = 0; i < regions.size(); ++i) {
    const MemoryRegion& r = regions[i];
    auto mapped = ForeignRegion::map(descriptors[i].get(), r.file_offset, r.bytes,
                                     "memory region " + std::to_string(i));
    if (!mapped) return std::move(mapped).error();
    memory.mappings_.push_back(std::make_unique<Mapping>(r, *std::move(mapped)));
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
