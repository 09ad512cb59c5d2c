#include "bus/file/parts.hpp"

#include "bus/file/geometry.hpp"
#include "bus/layout.hpp"

namespace shmif::bus {

FileParts parts_of_file(std::uint64_t ring_bytes) noexcept {
  return {.header = {0, kHeaderBytes},
          .ports = {kHeaderBytes, kHeaderBytes + kTableBytes},
          .ring = {kRingOffset, kRingOffset + ring_bytes}};
}

std::uint64_t mapped_bytes(std::uint64_t ring_bytes) noexcept {
  return kRingOffset + 2 * ring_bytes;
}

std::optional<std::uint64_t> ring_bytes_of_mapping(std::uint64_t mapped) noexcept {
  if (mapped <= kRingOffset || (mapped - kRingOffset) % 2 != 0) return std::nullopt;
  return (mapped - kRingOffset) / 2;
}

std::uint32_t format_signature() noexcept {
  return kLayoutSignature;
}

Result<void> check_ring(std::uint64_t ring_bytes, std::uint32_t mtu) {
  return check_geometry(ring_bytes, mtu);
}

bool can_be_position(std::uint64_t position) noexcept {
  return position % kRecordAlign == 0;
}

LockHolder kind_of_holder(unsigned slot) noexcept {
  if (slot < kSlots) return LockHolder::port;
  return slot == lock_word::kRepairSlot ? LockHolder::repair : LockHolder::nobody;
}

}  // namespace shmif::bus
