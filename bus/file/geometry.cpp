#include "bus/file/geometry.hpp"

#include <bit>

#include "bus/file/parts.hpp"
#include "bus/layout.hpp"

namespace shmif::bus {

bool carries_super_frames(std::uint64_t ring_bytes, std::uint32_t mtu) noexcept {
  return max_record_of(ring_bytes, mtu) == kSuperFrameRecord;
}

Result<void> check_geometry(std::uint64_t ring_bytes, std::uint32_t mtu) {
  if (!std::has_single_bit(ring_bytes) || ring_bytes < kMinRingBytes ||
      ring_bytes > kMaxRingBytes) {
    return Error(Errc::bad_size,
                 "a ring of " + size_text(ring_bytes) +
                     " is not possible: the size must be a power of two from 64K to 1G");
  }
  if (mtu < kMinMtu || mtu > kMaxMtu) {
    return Error(Errc::bad_mtu, "an MTU of " + std::to_string(mtu) +
                                    " is not possible: it must lie between 68 and 65521");
  }
  if (ring_bytes < min_ring_bytes(mtu)) {
    return Error(Errc::ring_too_small, "a ring of " + size_text(ring_bytes) +
                                           " is too small for an MTU of " + std::to_string(mtu) +
                                           ": it needs at least " + size_text(min_ring_bytes(mtu)));
  }
  return {};
}

Result<void> check_flow(std::uint32_t flow, std::uint64_t patience_ns) {
  constexpr std::uint64_t kMin = 1'000'000;
  constexpr std::uint64_t kMax = 1'000'000'000;
  if (flow == kFlowEthernet && patience_ns == 0) return {};
  if (flow == kFlowPause && patience_ns >= kMin && patience_ns <= kMax) return {};
  return Error(Errc::bad_patience,
               "a patience of " + std::to_string(patience_ns / 1000) +
                   " us is not possible: on a bus that pauses it must lie between 1000 us and "
                   "1000000 us (0.001 s and 1 s), and on others it must be 0");
}

std::string size_text(std::uint64_t bytes) {
  constexpr char kUnits[] = {'G', 'M', 'K'};
  for (unsigned i = 0; i < 3; ++i) {
    const unsigned shift = 30 - 10 * i;
    if (bytes != 0 && (bytes & ((1ULL << shift) - 1)) == 0) {
      return std::to_string(bytes >> shift) + kUnits[i];
    }
  }
  return std::to_string(bytes);
}

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
