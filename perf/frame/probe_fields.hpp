#pragma once
// How a probe lies in a frame: for the code that writes and reads it. probe.hpp has the table.
// Internal to perf/frame.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "perf/frame/probe.hpp"

namespace shmif::perf::fields {

static_assert(std::endian::native == std::endian::little,
              "the numbers of a probe are little-endian");

inline constexpr std::uint16_t kMagic = 'p' << 8U | 's';
inline constexpr std::uint8_t kVersion = 1;
inline constexpr std::uint8_t kLongVersion = 2;
inline constexpr std::size_t kMaxShort = 65535;
inline constexpr std::size_t kOwnersAt = 8;  // flow and nonce
inline constexpr std::size_t kSequenceAt = 16;
inline constexpr std::size_t kIntendedAt = 24;
inline constexpr std::size_t kSentAt = 32;
inline constexpr std::size_t kCrcAt = 40;
inline constexpr std::size_t kNoCrcAt = 44;
inline constexpr std::uint16_t kNoCrc = 'c' << 8U | 'n';

template <class T>
void put(std::byte* to, T value) noexcept {
  std::memcpy(to, &value, sizeof value);
}
template <class T>
T get(const std::byte* from) noexcept {
  T value{};
  std::memcpy(&value, from, sizeof value);
  return value;
}

/// The four bytes of the length field.
constexpr std::uint32_t length_field(std::uint8_t version, std::size_t length) noexcept {
  if (version == kVersion) {
    const auto low = static_cast<std::uint16_t>(length);
    return low | std::uint32_t{static_cast<std::uint16_t>(~low)} << 16U;
  }
  const auto bytes = static_cast<std::uint32_t>(length);
  const std::uint32_t folded = (bytes ^ bytes >> 8U ^ bytes >> 16U) & 0xffU;
  return bytes | (~folded & 0xffU) << 24U;
}

/// The first eight bytes: all fields before the flow.
constexpr std::uint64_t front(Probe::Kind kind, std::size_t length) noexcept {
  const std::uint8_t version = length > kMaxShort ? kLongVersion : kVersion;
  return kMagic | std::uint64_t{version} << 16U |
         std::uint64_t{static_cast<std::uint8_t>(kind)} << 24U |
         std::uint64_t{length_field(version, length)} << 32U;
}
/// Whether the sender wrote a CRC.
inline bool has_crc(const std::byte* probe) noexcept {
  return get<std::uint32_t>(probe + kCrcAt) != 0 || get<std::uint16_t>(probe + kNoCrcAt) != kNoCrc;
}
/// The next eight: whose frame it is.
constexpr std::uint64_t owners(std::uint32_t flow, std::uint32_t nonce) noexcept {
  return flow | std::uint64_t{nonce} << 32U;
}

}  // namespace shmif::perf::fields
