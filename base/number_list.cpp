#include "base/number_list.hpp"

#include <algorithm>

#include "base/quantity.hpp"
#include "base/text.hpp"

namespace shmif::base {

std::optional<NumberRange> read_number_range(std::string_view text) noexcept {
  const std::size_t dash = text.find('-');
  const auto first = read_digits(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : read_digits(text.substr(dash + 1));
  if (!first || !last || *first > *last) return std::nullopt;
  return NumberRange{*first, *last};
}

std::optional<std::vector<int>> read_number_list(std::string_view text) {
  constexpr std::uint64_t kMaxNumber = 65535;
  while (text.ends_with('\n') || text.ends_with(' ')) text.remove_suffix(1);
  std::vector<int> numbers;
  if (text.empty()) return numbers;
  for (const std::string_view part : split(text, ',')) {
    const auto range = read_number_range(part);
    if (!range || range->last > kMaxNumber) return std::nullopt;
    for (std::uint64_t each = range->first; each <= range->last; ++each)
      numbers.push_back(static_cast<int>(each));
  }
  std::ranges::sort(numbers);
  const auto repeated = std::ranges::unique(numbers);
  numbers.erase(repeated.begin(), repeated.end());
  return numbers;
}

std::string number_list_text(const std::vector<int>& numbers) {
  std::string text;
  for (std::size_t at = 0; at < numbers.size();) {
    std::size_t last = at;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    text += (text.empty() ? "" : ",") + std::to_string(numbers[at]);
    if (last > at) text += '-' + std::to_string(numbers[last]);
    at = last + 1;
  }
  return text;
}

}  // namespace shmif::base
