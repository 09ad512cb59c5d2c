#include "perf/job/values.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>
#include <optional>
#include <span>

#include "perf/job/value_parts.hpp"

namespace shmif::perf {
namespace {

using std::chrono::nanoseconds;

constexpr std::uint64_t kMostTimeNs = 100ULL * 365 * 24 * 3600 * 1'000'000'000;

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

/// A decimal number: `digits` divided by ten to the power `decimals`.
struct Decimal {
  std::uint64_t digits = 0;
  unsigned decimals = 0;
};

/// The decimal number at the front of `text`, which is then what follows. Result: nothing when
/// there is none, or more than 64 bits of it.
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

/// `number` times `factor`. Result: nothing when that is no whole number of 64 bits.
std::optional<std::uint64_t> times(Decimal number, std::uint64_t factor) noexcept {
  std::uint64_t divisor = 1;
  for (unsigned i = 0; i < number.decimals; ++i) divisor *= 10;
  const std::uint64_t common = std::gcd(factor, divisor);
  factor /= common;
  divisor /= common;
  // What is left of the divisor shares nothing with the factor, so it must go into the digits.
  if (number.digits % divisor != 0) return std::nullopt;
  const std::uint64_t quotient = number.digits / divisor;
  if (factor != 0 && quotient > UINT64_MAX / factor) return std::nullopt;
  return quotient * factor;
}

/// A number and one of `units`, in either case; the unit may be "".
std::optional<std::uint64_t> with_unit(std::string_view text, std::span<const Unit> units) {
  const std::optional<Decimal> number = take_decimal(text);
  if (!number) return std::nullopt;
  for (const Unit& unit : units) {
    if (same_word(text, unit.name)) return times(*number, unit.factor);
  }
  return std::nullopt;
}

}  // namespace

Error refused(std::string_view text, const std::string& why) {
  return {Errc::bad_argument, '"' + std::string(text) + "\" " + why};
}

Result<std::uint64_t> parse_bytes(std::string_view text) {
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
  const auto bytes = with_unit(text, kUnits);
  if (!bytes) {
    return refused(text,
                   "is no size (write bytes, or 64k, 4m, 1g with powers of 1024, below 2^64)");
  }
  return *bytes;
}

Result<std::uint64_t> parse_count(std::string_view text) {
  static constexpr std::array<Unit, 4> kUnits{
      {{"", 1}, {"k", 1'000}, {"m", 1'000'000}, {"g", 1'000'000'000}}};
  const auto count = with_unit(text, kUnits);
  if (!count) {
    return refused(text,
                   "is no whole number (as 1000, 1k or 2.5M, with powers of 1000, below 2^64)");
  }
  return *count;
}

Result<std::uint64_t> parse_rate(std::string_view text) {
  static constexpr std::array<Unit, 6> kUnits{{{"", 1},
                                               {"bit", 1},
                                               {"kbit", 1'000},
                                               {"mbit", 1'000'000},
                                               {"gbit", 1'000'000'000},
                                               {"tbit", 1'000'000'000'000}}};
  const auto rate = with_unit(text, kUnits);
  if (!rate) {
    return refused(
        text,
        "is no rate (write bits per second, as 64kbit, 10Mbit, 2Gbit or the plain number; "
        "bytes per second, as fio has them, are not meant here)");
  }
  return *rate;
}

Result<nanoseconds> parse_time(std::string_view text, TimeUnit plain) {
  const std::array<Unit, 8> units{{{"", static_cast<std::uint64_t>(plain)},
                                   {"ns", 1},
                                   {"us", 1'000},
                                   {"ms", 1'000'000},
                                   {"s", 1'000'000'000},
                                   {"m", 60ULL * 1'000'000'000},
                                   {"h", 3600ULL * 1'000'000'000},
                                   {"d", 86400ULL * 1'000'000'000}}};
  const auto ns = with_unit(text, units);
  if (!ns || *ns > kMostTimeNs) {
    return refused(text,
                   "is no time (as 30s, 1.5ms or 2m, with ns, us, ms, s, m, h or d, down to one "
                   "nanosecond and up to 100 years)");
  }
  return nanoseconds(static_cast<std::int64_t>(*ns));
}

Result<double> parse_share(std::string_view text) {
  const bool per_cent = text.ends_with('%');
  const auto value = real(per_cent ? text.substr(0, text.size() - 1) : text);
  const double share = value.value_or(2) / (per_cent ? 100 : 1);
  if (!value || share > 1) return refused(text, "is no share (as 1% or 0.01, from 0 to 1)");
  return share;
}

Result<double> parse_per_cent(std::string_view text) {
  const auto value = real(text.ends_with('%') ? text.substr(0, text.size() - 1) : text);
  if (!value || *value > 100) return refused(text, "is no percentage (as 99.9, from 0 to 100)");
  return *value;
}

Result<bool> parse_boolean(std::string_view text) {
  for (const std::string_view yes : {"1", "true", "yes", "on"}) {
    if (same_word(text, yes)) return true;
  }
  for (const std::string_view no : {"0", "false", "no", "off"}) {
    if (same_word(text, no)) return false;
  }
  return refused(text, "is neither yes nor no (write 1 or 0)");
}

Result<PairText> split_pair(std::string_view text) {
  const auto parts = split(text, ',');
  if (parts.size() == 1) return PairText{parts[0], parts[0]};
  if (parts.size() > 2 || (parts[0].empty() && parts[1].empty())) {
    return refused(text, "is no value for each direction (as A for both, A,B for tx and rx)");
  }
  return PairText{parts[0], parts[1]};
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

std::string bytes_text(std::uint64_t bytes) {
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

}  // namespace shmif::perf
