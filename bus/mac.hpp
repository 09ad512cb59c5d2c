#pragma once
// Ethernet (IEEE 802) addresses.

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace shmif {

/// A 48-bit MAC address in transmission order.
struct MacAddress {
  std::array<std::uint8_t, 6> bytes{};  ///< the byte that is sent first has index 0

  auto operator<=>(const MacAddress&) const = default;  ///< orders as to_u64() does

  /// True for multicast and broadcast (IEEE 802 clause 8.2: the I/G bit).
  constexpr bool is_group() const noexcept { return (bytes[0] & 1U) != 0; }
  /// Whether it is ff:ff:ff:ff:ff:ff.
  constexpr bool is_broadcast() const noexcept { return to_u64() == 0xffffffffffffU; }
  /// Whether it is all zeros: as an address, "none".
  constexpr bool is_zero() const noexcept { return to_u64() == 0; }
  /// Whether a port or an interface may have this address: not a group address, and not all zeros.
  constexpr bool is_unicast() const noexcept { return !is_group() && !is_zero(); }

  /// The address as a number, first byte most significant.
  constexpr std::uint64_t to_u64() const noexcept {
    std::uint64_t v = 0;
    for (const std::uint8_t b : bytes) v = v << 8U | b;
    return v;
  }
  /// The reverse of to_u64(). The upper 16 bits of `v` are ignored.
  static constexpr MacAddress from_u64(std::uint64_t v) noexcept {
    MacAddress m;
    for (unsigned i = 0; i < 6; ++i) m.bytes[i] = static_cast<std::uint8_t>(v >> (40U - 8U * i));
    return m;
  }
  /// The six bytes at `p`.
  static MacAddress read(const void* p) noexcept {
    MacAddress m;
    std::memcpy(m.bytes.data(), p, 6);
    return m;
  }

  /// "b2:a0:01:02:03:04". Result: lower case, always 17 characters.
  std::string to_string() const;
  /// Accepts six hexadecimal bytes joined by ':' or '-'. Result: empty for other text.
  static std::optional<MacAddress> parse(std::string_view text) noexcept;
  /// A random locally administered address b2:a0:xx:xx:xx:xx (NetBSD if_shmem.c).
  /// Threads: safe. Blocks: never; if the kernel has no random numbers yet, it uses time and pid.
  static MacAddress random() noexcept;
};

}  // namespace shmif
