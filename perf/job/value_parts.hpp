#pragma once
// What the readers of values share. Internal to perf/job.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace shmif::perf {

inline char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
inline bool same_word(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

inline bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

/// All of `text` as digits; from_chars takes no sign of an unsigned number and no space.
inline std::optional<std::uint64_t> whole(std::string_view text, int base = 10) noexcept {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(end - text.size(), end, value, base);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

inline std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

/// A floating-point number, all of it, finite and not below zero.
inline std::optional<double> real(std::string_view text) noexcept {
  double value = 0;
  const char* const end = text.data() + text.size();
  // from_chars would take "inf", "-1" and, of std::chars_format::general, "1e3".
  if (text.empty() || (!is_digit(text[0]) && text[0] != '.')) return std::nullopt;
  const auto [stop, error] =
      std::from_chars(end - text.size(), end, value, std::chars_format::fixed);
  if (error != std::errc{} || stop != end || !std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace shmif::perf
