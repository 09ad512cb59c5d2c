#pragma once
// Text on a terminal.

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace shmif::base {

/// How many columns `text`, which is UTF-8, takes, as long as every character takes one.
inline std::size_t columns_of(std::string_view text) noexcept {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

}  // namespace shmif::base
