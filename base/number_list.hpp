#pragma once
// Lists of numbers as the kernel writes them, of CPUs for example: "0-3,8".

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shmif::base {

/// One part of a list: "5" or "5-7".
struct NumberRange {
  std::uint64_t first;
  std::uint64_t last;  ///< not below `first`
};
/// The whole of `text` as one part of a list. Threads: any.
std::optional<NumberRange> read_number_range(std::string_view text) noexcept;
/// The numbers of a list, in ascending order; an empty list for an empty text. Threads: any.
/// Result: empty if the text is not a list, or has a number above 65535.
std::optional<std::vector<int>> read_number_list(std::string_view text);
/// The text of a list of numbers, which are in ascending order. Threads: any.
std::string number_list_text(const std::vector<int>& numbers);

}  // namespace shmif::base
