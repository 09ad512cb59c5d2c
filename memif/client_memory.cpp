#include "memif/client_memory.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace shmif::memif {

Result<void> ClientMemory::add(int file, std::uint64_t bytes) {
  constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t asked = bytes_ + std::min(bytes, kAll - bytes_);
  if (auto checked = check_foreign_bytes(asked, most_); !checked) return checked;
  auto region =
      ForeignRegion::map(file, 0, bytes, "memory region " + std::to_string(regions_.size()));
  if (!region) return std::move(region).error();
  bytes_ = asked;
  regions_.push_back(*std::move(region));
  return {};
}

bool ClientMemory::lost() const noexcept {
  return std::ranges::any_of(regions_, &ForeignRegion::lost);
}

}  // namespace shmif::memif
