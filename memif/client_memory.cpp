#include "memif/client_memory.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace shmif::memif {

Result<void> ClientMemory::add(int file, std::uint64_t bytes) {
  auto region =
      bus::ForeignRegion::map(file, 0, bytes, "memory region " + std::to_string(regions_.size()));
  if (!region) return std::move(region).error();
  regions_.push_back(*std::move(region));
  return {};
}

bool ClientMemory::lost() const noexcept {
  return std::ranges::any_of(regions_, &bus::ForeignRegion::lost);
}

}  // namespace shmif::memif
