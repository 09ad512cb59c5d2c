#include "perf/membw/pmu_description.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "base/quantity.hpp"

namespace shmif::perf {
namespace {

constexpr unsigned kWordBits = 64;
constexpr std::array<std::string_view, 3> kWords{"config", "config1", "config2"};

Error not_as(std::string_view text, const char* what) {
  return Error(Errc::bad_argument, '"' + std::string(text) + "\" is not " + what);
}

/// A file of sysfs has one line. A line without its end may be cut off.
std::string_view line_of(std::string_view text) {
  while (text.ends_with('\n') || text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

/// Takes the part up to the next `end` from the front of `text`.
std::string_view take_part(std::string_view& text, char end) {
  const std::size_t at = std::min(text.find(end), text.size());
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return part;
}

/// "5" or "5-7".
std::optional<std::pair<std::uint64_t, std::uint64_t>> read_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  const auto first = base::read_digits(text.substr(0, dash));
  const auto last =
      dash == std::string_view::npos ? first : base::read_digits(text.substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return std::pair(*first, *last);
}

std::optional<std::uint64_t> read_value(std::string_view text) {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  return hex ? base::read_digits(text.substr(2), 16) : base::read_digits(text);
}

/// Puts the bits of `value` where they belong. Result: false if it has more bits.
bool place(std::uint64_t value, const PmuField& field, EventWords& words) {
  for (const auto& [first, last] : field.bits) {
    for (unsigned bit = first; bit <= last; ++bit) {
      words[field.word] |= (value & 1U) << bit;
      value >>= 1U;
    }
  }
  return value == 0;
}

}  // namespace

Result<PmuField> read_pmu_field(std::string_view text) {
  const Error other = not_as(line_of(text), "a list of bits, such as config:0-7,32-35");
  std::string_view rest = line_of(text);
  if (rest.find(':') == std::string_view::npos || rest.ends_with(',')) return other;
  const std::string_view word = take_part(rest, ':');
  const auto* const found = std::ranges::find(kWords, word);
  if (found == kWords.end() || rest.empty()) return other;
  PmuField field;
  field.word = static_cast<std::size_t>(found - kWords.begin());
  std::uint64_t seen = 0;
  while (!rest.empty()) {
    const auto range = read_range(take_part(rest, ','));
    if (!range || range->second >= kWordBits) return other;
    for (std::uint64_t bit = range->first; bit <= range->second; ++bit) {
      if ((seen >> bit & 1U) != 0) return other;
      seen |= std::uint64_t{1} << bit;
    }
    field.bits.emplace_back(range->first, range->second);
  }
  return field;
}

Result<EventWords> read_pmu_event(std::string_view text, const PmuFields& fields) {
  std::string_view rest = line_of(text);
  if (rest.empty()) return Error(Errc::bad_argument, "an event without a description");
  if (rest.ends_with(',')) return not_as(rest, "a whole description of an event");
  EventWords words{};
  while (!rest.empty()) {
    std::string_view value = take_part(rest, ',');
    const bool is_set = value.find('=') != std::string_view::npos;
    const std::string_view name = take_part(value, '=');
    const auto number = is_set ? read_value(value) : std::optional<std::uint64_t>(1);
    if (!number) return not_as(value, "the value of a field of an event");
    if (const auto* const word = std::ranges::find(kWords, name); word != kWords.end()) {
      words[static_cast<std::size_t>(word - kWords.begin())] |= *number;
      continue;
    }
    const auto field = fields.find(name);
    if (field == fields.end()) return not_as(name, "a field of this PMU");
    if (!place(*number, field->second, words)) {
      return not_as(value, ("a value for the bits of " + std::string(name)).c_str());
    }
  }
  return words;
}

Result<double> read_bytes_per_count(std::string_view scale, std::string_view unit) {
  const std::string_view number = line_of(scale);
  double value = 0;
  const char* const end = number.data() + number.size();
  const auto [stop, error] = std::from_chars(end - number.size(), end, value);
  if (error != std::errc{} || stop != end || !std::isfinite(value) || value <= 0) {
    return not_as(number, "a scale");
  }
  constexpr std::array<std::pair<std::string_view, double>, 8> kUnits{{{"B", 1},
                                                                       {"Bytes", 1},
                                                                       {"KiB", 1024.0},
                                                                       {"MiB", 1048576.0},
                                                                       {"GiB", 1073741824.0},
                                                                       {"KB", 1e3},
                                                                       {"MB", 1e6},
                                                                       {"GB", 1e9}}};
  const std::string_view word = line_of(unit);
  const auto* const known =
      std::ranges::find(kUnits, word, &std::pair<std::string_view, double>::first);
  if (known == kUnits.end()) return not_as(word, "a unit of bytes, such as MiB");
  return value * known->second;
}

}  // namespace shmif::perf
