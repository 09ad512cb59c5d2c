#pragma once
// The sizes of a bus and the rules between them.

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "bus/layout.hpp"
#include "bus/limits.hpp"

namespace shmif::bus {

/// The smallest ring, a power of two, that holds eight of the largest record of this MTU.
constexpr std::uint64_t min_ring_bytes(std::uint32_t mtu) noexcept {
  const std::uint64_t need = kRecordsPerRing * record_bytes(max_frame_bytes(mtu));
  std::uint64_t ring = kMinRingBytes;
  while (ring < need) ring <<= 1U;
  return ring;
}

/// The largest MTU that a ring has room for.
constexpr std::uint32_t max_mtu(std::uint64_t ring_bytes) noexcept {
  const std::uint64_t record = ring_bytes / kRecordsPerRing;
  const std::uint64_t max = record - kRecordHeaderBytes - kMtuToFrame;
  return max < kMaxMtu ? static_cast<std::uint32_t>(max) : kMaxMtu;
}

/// Most bytes behind a record header: a super-frame if the ring holds eight of them, otherwise a
/// frame of the MTU.
constexpr std::uint32_t max_record_of(std::uint64_t ring_bytes, std::uint32_t mtu) noexcept {
  return kRecordsPerRing * record_bytes(kSuperFrameRecord) <= ring_bytes ? kSuperFrameRecord
                                                                         : max_frame_bytes(mtu);
}

constexpr std::uint64_t file_bytes(std::uint64_t ring_bytes) noexcept {
  return kRingOffset + ring_bytes;
}

/// Whether a bus may have this geometry. Result: bad_size, bad_mtu or ring_too_small with the
/// remedy.
Result<void> check_geometry(std::uint64_t ring_bytes, std::uint32_t mtu);

/// Whether a bus may have this flow and this patience with slow ports: 1 ms to 1 s if it pauses,
/// otherwise 0. Result: bad_patience with the remedy.
Result<void> check_flow(std::uint32_t flow, std::uint64_t patience_ns);

/// 4194304 -> "4M"; a size that is not a whole number of K, M or G stays in bytes.
std::string size_text(std::uint64_t bytes);

}  // namespace shmif::bus
