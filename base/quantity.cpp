#include "base/quantity.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstdint>
#include <numeric>
#include <span>
#include <system_error>

#include "base/text.hpp"

namespace shmif::base {
namespace {

using std::chrono::nanoseconds;

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
constexpr std::uint64_t kMaxTimeNs = 100ULL * 365 * 24 * 3600 * kNsPerSecond;

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

/// A decimal number: `digits` divided by ten to the power `decimals`.
struct Decimal {
  std::uint64_t digits = 0;
  unsigned decimals = 0;
};

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_word(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

/// Takes the decimal number at the front of `text`, and leaves the rest in `text`. Result: empty if
/// there is no number, or if it needs more than 18 decimals or 64 bits.
std::optional<Decimal> take_decimal(std::string_view& text) noexcept {
  Decimal number;
  bool point = false;
  std::size_t at = 0;
  std::size_t seen = 0;
  for (; at < text.size() && (is_digit(text[at]) || (text[at] == '.' && !point)); ++at) {
    if (text[at] == '.') {
      point = true;
      continue;
    }
    ++seen;
    if (point && ++number.decimals > 18) return std::nullopt;
    const auto digit = static_cast<std::uint64_t>(text[at] - '0');
    if (number.digits > (UINT64_MAX - digit) / 10) return std::nullopt;
    number.digits = number.digits * 10 + digit;
  }
  if (seen == 0 || text[at - 1] == '.') return std::nullopt;
  text.remove_prefix(at);
  return number;
}

/// `number` times `factor`. Result: empty unless the product is a whole number of 64 bits.
std::optional<std::uint64_t> times(Decimal number, std::uint64_t factor) noexcept {
  std::uint64_t divisor = 1;
  for (unsigned i = 0; i < number.decimals; ++i) divisor *= 10;
  const std::uint64_t common = std::gcd(factor, divisor);
  factor /= common;
  divisor /= common;
  // The rest of the divisor has no factor in common with `factor`, so it must divide the digits.
  if (number.digits % divisor != 0) return std::nullopt;
  const std::uint64_t quotient = number.digits / divisor;
  if (factor != 0 && quotient > UINT64_MAX / factor) return std::nullopt;
  return quotient * factor;
}

/// Parses a number followed by one of `units`, in either case; a unit may be "".
std::optional<std::uint64_t> with_unit(std::string_view text, std::span<const Unit> units) {
  const std::optional<Decimal> number = take_decimal(text);
  if (!number) return std::nullopt;
  for (const Unit& unit : units) {
    if (same_word(text, unit.name)) return times(*number, unit.factor);
  }
  return std::nullopt;
}

std::string joined(const std::vector<std::string>& choices, const std::string& before) {
  std::string text;
  for (const std::string& choice : choices) {
    if (!text.empty()) text += " or ";
    text += before;
    text += choice;
  }
  return text;
}

}  // namespace

template <class T>
std::string Reading<T>::why(std::string_view text, const std::string& before) const {
  const std::string subject = '"' + before + std::string(text) + "\" ";
  if (choices_.empty()) return subject + why_;
  const bool one = choices_.size() == 1;
  return subject + (one ? "needs a unit" : "could be " + joined(choices_, "")) + " (write " +
         joined(choices_, before) + ')';
}
template class Reading<std::uint64_t>;
template class Reading<nanoseconds>;
template class Reading<double>;

Reading<std::uint64_t> read_size(std::string_view text) {
  constexpr std::uint64_t k = 1024;
  static constexpr std::array<Unit, 17> kUnits{{{"", 1},
                                                {"k", k},
                                                {"ki", k},
                                                {"kb", k},
                                                {"kib", k},
                                                {"m", k * k},
                                                {"mi", k * k},
                                                {"mb", k * k},
                                                {"mib", k * k},
                                                {"g", k * k * k},
                                                {"gi", k * k * k},
                                                {"gb", k * k * k},
                                                {"gib", k * k * k},
                                                {"t", k * k * k * k},
                                                {"ti", k * k * k * k},
                                                {"tb", k * k * k * k},
                                                {"tib", k * k * k * k}}};
  if (const auto bytes = with_unit(text, kUnits)) return *bytes;
  return Reading<std::uint64_t>::refused(
      "is not a size (write bytes, or 64k, 4m, 1g with powers of 1024, below 2^64)");
}

Reading<std::uint64_t> read_packet_bytes(std::string_view text) {
  if (const auto bytes = read_digits(text)) return *bytes;
  const auto as_count = read_count(text);
  const auto as_size = read_size(text);
  if (as_count && as_size && *as_count != *as_size) {
    return Reading<std::uint64_t>::ambiguous({std::to_string(*as_count), std::to_string(*as_size)});
  }
  return Reading<std::uint64_t>::refused(
      "is not a number of bytes (such as 1500 or 9000, in digits)");
}

Reading<std::uint64_t> read_count(std::string_view text) {
  static constexpr std::array<Unit, 4> kUnits{
      {{"", 1}, {"k", 1'000}, {"m", 1'000'000}, {"g", 1'000'000'000}}};
  if (const auto count = with_unit(text, kUnits)) return *count;
  return Reading<std::uint64_t>::refused(
      "is not a whole number (such as 1000, 1k or 2.5M, with powers of 1000, below 2^64)");
}

Reading<std::uint64_t> read_rate(std::string_view text) {
  static constexpr std::array<Unit, 5> kPrefixes{
      {{"", 1}, {"k", 1'000}, {"m", 1'000'000}, {"g", 1'000'000'000}, {"t", 1'000'000'000'000}}};
  const auto refuse = [] {
    return Reading<std::uint64_t>::refused(
        "is not a rate (write bits per second, such as 64kbit, 10Mbit, 2Gbit or the plain number)");
  };
  std::string_view unit = text;
  const std::optional<Decimal> number = take_decimal(unit);
  if (!number) return refuse();
  for (const Unit& prefix : kPrefixes) {
    if (!same_word(unit.substr(0, prefix.name.size()), prefix.name)) continue;
    const std::string_view rest = unit.substr(std::min(prefix.name.size(), unit.size()));
    const auto is = [&](std::initializer_list<std::string_view> words) {
      return std::any_of(words.begin(), words.end(), [&](auto w) { return same_word(rest, w); });
    };
    const auto bits = times(*number, prefix.factor);
    if (is({"", "bit", "bits", "bit/s", "bits/s"})) return bits ? *bits : refuse();
    // In fio and tc, some of these words mean bytes per second.
    if (bits && *bits <= UINT64_MAX / 8 && is({"b", "bps", "b/s", "byte", "bytes"})) {
      return Reading<std::uint64_t>::ambiguous({rate_text(*bits), rate_text(*bits * 8)});
    }
  }
  return refuse();
}

Reading<nanoseconds> read_time(std::string_view text, std::optional<TimeUnit> plain) {
  static constexpr std::array<Unit, 14> kUnits{{{"ns", 1},
                                                {"nsec", 1},
                                                {"us", 1'000},
                                                {"usec", 1'000},
                                                {"\u00b5s", 1'000},
                                                {"\u03bcs", 1'000},
                                                {"ms", 1'000'000},
                                                {"msec", 1'000'000},
                                                {"s", kNsPerSecond},
                                                {"sec", kNsPerSecond},
                                                {"m", 60 * kNsPerSecond},
                                                {"min", 60 * kNsPerSecond},
                                                {"h", 3600 * kNsPerSecond},
                                                {"d", 86400 * kNsPerSecond}}};
  std::optional<std::uint64_t> ns = with_unit(text, kUnits);
  if (!ns) {
    std::string_view rest = text;
    const std::optional<Decimal> number = take_decimal(rest);
    if (number && rest.empty()) {
      if (plain) {
        ns = times(*number, static_cast<std::uint64_t>(*plain));
      } else if (number->digits == 0) {
        ns = 0;
      } else {
        return Reading<nanoseconds>::ambiguous({std::string(text) + "ms", std::string(text) + "s"});
      }
    }
  }
  if (!ns || *ns > kMaxTimeNs) {
    return Reading<nanoseconds>::refused(
        "is not a time (such as 30s, 1.5ms or 2m, with ns, us, ms, s, m, h or d, down to one "
        "nanosecond and up to 100 years)");
  }
  return nanoseconds(static_cast<std::int64_t>(*ns));
}

Reading<double> read_share(std::string_view text) {
  const bool per_cent = text.ends_with('%');
  const auto number = read_real(per_cent ? text.substr(0, text.size() - 1) : text);
  if (!number || *number > 100) {
    return Reading<double>::refused("is not a share (such as 1% or 0.5%, from 0% to 100%)");
  }
  if (per_cent) return *number / 100;
  if (*number == 0) return 0.0;
  std::vector<std::string> choices{std::string(text) + '%'};
  if (*number <= 1) choices.push_back(share_text(*number));
  return Reading<double>::ambiguous(std::move(choices));
}

Reading<double> read_percentage(std::string_view text) {
  const auto number = read_real(text.ends_with('%') ? text.substr(0, text.size() - 1) : text);
  if (number && *number <= 100) return *number;
  return Reading<double>::refused("is not a percentage (such as 99.9, from 0 to 100)");
}

std::optional<std::uint64_t> read_digits(std::string_view text, int radix) noexcept {
  std::uint64_t value = 0;
  // For an unsigned number, from_chars accepts no sign, no space and no prefix.
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(end - text.size(), end, value, radix);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

std::optional<double> read_real(std::string_view text) noexcept {
  double value = 0;
  const char* const end = text.data() + text.size();
  // from_chars would accept "inf" and "-1", and with std::chars_format::general also "1e3".
  if (text.empty() || (!is_digit(text[0]) && text[0] != '.')) return std::nullopt;
  const auto [stop, error] =
      std::from_chars(end - text.size(), end, value, std::chars_format::fixed);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

std::string time_text(nanoseconds time) {
  // "0", not "0ns": zero needs no unit.
  if (time.count() == 0) return "0";
  constexpr std::int64_t s = 1'000'000'000;
  constexpr std::array<std::pair<const char*, std::int64_t>, 6> kUnits{{{"d", 86400 * s},
                                                                        {"h", 3600 * s},
                                                                        {"m", 60 * s},
                                                                        {"s", s},
                                                                        {"ms", 1'000'000},
                                                                        {"us", 1'000}}};
  for (const auto& [name, factor] : kUnits) {
    if (time.count() % factor == 0) return std::to_string(time.count() / factor) + name;
  }
  return std::to_string(time.count()) + "ns";
}

std::string size_text(std::uint64_t bytes) {
  constexpr std::array<std::pair<const char*, unsigned>, 3> kUnits{
      {{"g", 30}, {"m", 20}, {"k", 10}}};
  for (const auto& [name, shift] : kUnits) {
    if (bytes != 0 && bytes % (1ULL << shift) == 0) return std::to_string(bytes >> shift) + name;
  }
  return std::to_string(bytes);
}

std::string rate_text(std::uint64_t bits_per_second) {
  constexpr std::array<std::pair<const char*, std::uint64_t>, 3> kUnits{
      {{"Gbit", 1'000'000'000}, {"Mbit", 1'000'000}, {"kbit", 1'000}}};
  if (bits_per_second == 0) return "0";
  for (const auto& [name, factor] : kUnits) {
    if (bits_per_second % factor == 0) return std::to_string(bits_per_second / factor) + name;
  }
  return std::to_string(bits_per_second) + "bit";
}

std::string share_text(double share) {
  // read_share() divides by 100, which rounds. So the number before the % sign is the shortest one
  // whose hundredth is this share: 0.07 * 100 is not 7. A share that no text has gets the nearest.
  const double around = share * 100;
  const auto digits_of = [](double number) {
    std::array<char, 400> text{};
    char* const end =
        std::to_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed).ptr;
    return std::string(text.data(), end);
  };
  std::string shortest;
  // The numbers beside it, without libm: programs in C do not link it by themselves.
  const auto bits = std::bit_cast<std::uint64_t>(around);
  for (const std::uint64_t near : {bits, bits == 0 ? bits : bits - 1, bits + 1}) {
    const auto each = std::bit_cast<double>(near);
    if (each / 100 != share) continue;
    const std::string digits = digits_of(each);
    if (shortest.empty() || digits.size() < shortest.size()) shortest = digits;
  }
  return (shortest.empty() ? digits_of(around) : shortest) + '%';
}

const Spelling kSpellings[5] = {
    {"SIZE", "1514, 64k, 1.5M, 4GiB", "bytes; k, M, G and T are powers of 1024"},
    {"N", "1000, 10k, 2.5M", "a number of things; k, M and G are powers of 1000"},
    {"RATE", "64kbit, 10Mbit, 2.5Gbit, 10M, 1000",
     "bits per second; k, M, G and T are powers of 1000, and \"bit\" may be left out; 10MB and "
     "10Mbps are refused, because they could mean bytes"},
    {"TIME", "250ns, 50us, 1.5ms, 30s, 2m, 1h, 1d",
     "a number without a unit has the default unit that the option names; if the option names "
     "none, such a number is refused, except 0"},
    {"SHARE", "1%, 0.5%, 100%",
     "a part of a whole; a number without % is refused unless it is 0, because 1 could be 1% or "
     "100%"},
};

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
