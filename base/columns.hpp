#pragma once
// Columns of text on a terminal.

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace shmif::base {

/// Whether a character of UTF-8 begins with this byte.
inline bool begins_character(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
}

/// The number of columns that `text` (UTF-8) takes, if every character takes one.
inline std::size_t columns_of(std::string_view text) noexcept {
  return static_cast<std::size_t>(std::ranges::count_if(text, begins_character));
}

/// The offset of the character that follows the first `columns` columns of `text`, or the size of
/// `text` if it is not longer.
inline std::size_t behind_columns(std::string_view text, std::size_t columns) noexcept {
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if (begins_character(text[at]) && columns-- == 0) break;
  }
  return at;
}

}  // namespace shmif::base
