#include "instruments/counters/event_text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/quantity.hpp"
#include "base/text.hpp"

namespace shmif::perf {
namespace {

constexpr unsigned kWordBits = 64;

Error wrong(const std::string& message) {
  return {Errc::bad_argument, message};
}

std::string in_quotes(std::string_view text) {
  return '"' + std::string(text) + '"';
}

std::string_view without_end(std::string_view text) {
  while (text.ends_with('\n') || text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

std::optional<std::uint64_t> read_value(std::string_view text) {
  constexpr int kHexadecimal = 16;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    return base::read_digits(text.substr(2), kHexadecimal);
  }
  return base::read_digits(text);
}

std::uint64_t mask_of(unsigned bits) noexcept {
  return bits >= kWordBits ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
}

}  // namespace

Result<std::vector<std::string>> split_events(std::string_view text) {
  std::vector<std::string> words(1);
  bool in_terms = false;
  for (const char each : text) {
    if (each == '/') in_terms = !in_terms;
    if (each == ',' && !in_terms) {
      words.emplace_back();
    } else {
      words.back() += each;
    }
  }
  if (in_terms)
    return wrong(in_quotes(words.back()) + " lacks its second slash (as in cpu/event=1/)");
  if (std::ranges::any_of(words, &std::string::empty)) {
    return wrong(in_quotes(text) + " has an empty name between commas");
  }
  return words;
}

Result<std::vector<std::vector<std::string>>> split_event_sets(std::string_view text) {
  std::vector<std::vector<std::string>> sets;
  std::string others;  // everything outside of braces
  const auto add = [&](std::string_view list) -> Result<void> {
    auto words = split_events(list);
    if (!words) return words.error();
    sets.push_back(*std::move(words));
    return {};
  };
  for (std::size_t at = 0; at <= text.size();) {
    const std::string_view left = text.substr(at);
    const bool braces = left.starts_with('{');
    const std::size_t end = braces ? left.find('}') : std::min(left.find(",{"), left.size());
    // After a closing brace must be a comma or the end.
    if (end == std::string_view::npos ||
        (braces && end + 1 < left.size() && left[end + 1] != ',')) {
      return wrong(in_quotes(text) +
                   " has braces that do not match (as in {cycles,instructions},cs)");
    }
    if (braces) {
      if (auto added = add(left.substr(1, end - 1)); !added) return added.error();
    } else {
      if (!others.empty()) others += ',';
      others += left.substr(0, end);
      if (end == 0) others += ',';  // makes an empty name, which is an error
    }
    at += end + (braces ? 2 : 1);
  }
  if (others.find_first_of("{}") != std::string::npos) {
    return wrong(in_quotes(text) +
                 " has braces that do not match (as in {cycles,instructions},cs)");
  }
  if (!others.empty() || sets.empty()) {
    if (auto added = add(others); !added) return added.error();
  }
  return sets;
}

Result<void> apply_modifiers(std::string_view modifiers, CounterEvent& event) {
  constexpr std::uint8_t kMaxPrecise = 3;
  const auto has = [&](char letter) { return modifiers.find(letter) != std::string_view::npos; };
  const auto other = modifiers.find_first_not_of("ukhGHp");
  if (modifiers.empty() || other != std::string_view::npos) {
    return wrong(in_quotes(modifiers) + " are not modifiers (u, k, h, G, H, p, pp, ppp)");
  }
  const auto precise = std::ranges::count(modifiers, 'p');
  if (precise > kMaxPrecise) return wrong(in_quotes(modifiers) + " has more than ppp");
  if (has('u') || has('k') || has('h')) {
    event.exclude_user = !has('u');
    event.exclude_kernel = !has('k');
    event.exclude_hypervisor = !has('h');
  }
  if (has('G') || has('H')) {
    event.exclude_guest = !has('G');
    event.exclude_host = !has('H');
  }
  if (precise > 0) event.precise = static_cast<std::uint8_t>(precise);
  return {};
}

Result<std::vector<EventTerm>> read_terms(std::string_view text) {
  std::vector<EventTerm> terms;
  text = without_end(text);
  for (const std::string_view word : base::split(text, ',')) {
    const std::size_t equals = word.find('=');
    EventTerm term{std::string(word.substr(0, equals)), {}, false};
    if (term.name.empty()) return wrong(in_quotes(word) + " is not a term (as event=0x3c)");
    if (equals != std::string_view::npos) {
      const std::string_view value = word.substr(equals + 1);
      term.open = value == "?";
      if (!term.open) term.value = read_value(value);
      if (!term.open && !term.value) {
        return wrong(in_quotes(word) + " has no number of 64 bits (as event=0x3c)");
      }
    }
    terms.push_back(std::move(term));
  }
  return terms;
}

unsigned FormatField::bits() const noexcept {
  unsigned bits = 0;
  for (const Range& range : ranges) bits += range.last - range.first + 1;
  return bits;
}

Result<FormatField> read_format(std::string_view text) {
  const std::string_view whole = without_end(text);
  const std::size_t colon = whole.find(':');
  const std::string_view name = whole.substr(0, colon);
  FormatField field;
  if (name == "config1") field.word = 1;
  if (name == "config2") field.word = 2;
  if (name == "config3") field.word = 3;
  if (colon == std::string_view::npos || (field.word == 0 && name != "config")) {
    return wrong(in_quotes(whole) + " is not a format (as config:0-7,32)");
  }
  std::uint64_t seen = 0;
  for (const std::string_view part : base::split(whole.substr(colon + 1), ',')) {
    const auto range = base::read_number_range(part);
    if (!range || range->last >= kWordBits) {
      return wrong(in_quotes(whole) + " has " + in_quotes(part) +
                   ", which are not bits of 0 to 63");
    }
    const auto low = static_cast<unsigned>(range->first);
    const auto high = static_cast<unsigned>(range->last);
    const std::uint64_t bits = mask_of(high - low + 1) << low;
    if ((seen & bits) != 0) return wrong(in_quotes(whole) + " has a bit twice");
    seen |= bits;
    field.ranges.push_back({low, high});
  }
  return field;
}

std::array<std::uint64_t*, 4> config_words(CounterEvent& event) noexcept {
  return {&event.config, &event.config1, &event.config2, &event.config3};
}

Result<void> put_field(const FormatField& field, std::uint64_t value, CounterEvent& event) {
  if ((value & ~mask_of(field.bits())) != 0) {
    return wrong("the value " + std::to_string(value) + " needs more than the " +
                 std::to_string(field.bits()) + " bits that there are for it");
  }
  std::uint64_t& word = *config_words(event)[field.word];
  for (const FormatField::Range& range : field.ranges) {
    const unsigned bits = range.last - range.first + 1;
    const std::uint64_t mask = mask_of(bits);
    word = (word & ~(mask << range.first)) | (value & mask) << range.first;
    value = bits >= kWordBits ? 0 : value >> bits;
  }
  return {};
}

std::optional<double> read_scale(std::string_view text) {
  text = without_end(text);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (!std::isfinite(value) || value <= 0) return std::nullopt;
  return value;
}

}  // namespace shmif::perf
