#include "bus/mac.hpp"

#include <sys/random.h>

#include <cstdio>

namespace shmif {
namespace {

std::optional<unsigned> hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
  return std::nullopt;
}

}  // namespace

std::string MacAddress::to_string() const {
  char text[18];
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2],
                bytes[3], bytes[4], bytes[5]);
  return text;
}

std::optional<MacAddress> MacAddress::parse(std::string_view text) noexcept {
  if (text.size() != 17) return std::nullopt;
  MacAddress m;
  for (std::size_t i = 0; i < 6; ++i) {
    const auto high = hex_digit(text[3 * i]);
    const auto low = hex_digit(text[3 * i + 1]);
    if (!high || !low) return std::nullopt;
    if (i < 5 && text[3 * i + 2] != ':' && text[3 * i + 2] != '-') return std::nullopt;
    m.bytes[i] = static_cast<std::uint8_t>(*high << 4U | *low);
  }
  return m;
}

MacAddress MacAddress::random() noexcept {
  MacAddress m;
  m.bytes[0] = 0xb2;  // NetBSD if_shmem.c: locally administered, not a group
  m.bytes[1] = 0xa0;
  while (getrandom(&m.bytes[2], 4, 0) != 4) {
  }
  return m;
}

}  // namespace shmif
