#include "tools/values.hpp"

#include <charconv>
#include <cstdio>

namespace shmif::tools {

namespace {

/// All of `text` as digits of `base`; from_chars takes no sign of an unsigned number, no space, no
/// prefix.
std::optional<std::uint64_t> digits(std::string_view text, int base) noexcept {
  std::uint64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<std::uint64_t> parse_count(std::string_view text) noexcept {
  return digits(text, 10);
}

std::optional<std::uint64_t> parse_size(std::string_view text) noexcept {
  if (text.empty()) return std::nullopt;
  unsigned shift = 0;
  switch (text.back()) {
    case 'K':
    case 'k': shift = 10; break;
    case 'M':
    case 'm': shift = 20; break;
    case 'G':
    case 'g': shift = 30; break;
    default: break;
  }
  if (shift != 0) text.remove_suffix(1);
  const std::optional<std::uint64_t> number = digits(text, 10);
  if (!number || *number > UINT64_MAX >> shift) return std::nullopt;
  return *number << shift;
}

std::optional<std::uint32_t> parse_mode(std::string_view text) noexcept {
  const std::optional<std::uint64_t> bits = digits(text, 8);
  if (!bits || *bits > 0777) return std::nullopt;
  return static_cast<std::uint32_t>(*bits);
}

std::optional<std::chrono::nanoseconds> parse_seconds(std::string_view text) noexcept {
  const std::size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  const std::string_view fraction =
      point == std::string_view::npos ? std::string_view("0") : text.substr(point + 1);
  if (fraction.size() > 9) return std::nullopt;
  const std::optional<std::uint64_t> seconds = digits(whole.empty() ? "0" : whole, 10);
  const std::optional<std::uint64_t> part = digits(fraction, 10);
  if ((whole.empty() && point == std::string_view::npos) || !seconds || !part ||
      *seconds > 1'000'000'000) {
    return std::nullopt;
  }
  std::uint64_t ns = *part;
  for (std::size_t i = fraction.size(); i < 9; ++i) ns *= 10;
  return std::chrono::nanoseconds(static_cast<std::int64_t>(*seconds * 1'000'000'000 + ns));
}

std::string format_bytes(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit < 6) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  const bool whole = unit == 0 || value == static_cast<double>(static_cast<std::uint64_t>(value));
  std::snprintf(text, sizeof text, whole ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

}  // namespace shmif::tools
