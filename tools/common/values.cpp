#include "tools/common/values.hpp"

#include <cstdio>

#include "base/quantity.hpp"

namespace shmif::tools {

std::optional<std::uint32_t> parse_mode(std::string_view text) noexcept {
  const std::optional<std::uint64_t> bits = base::read_digits(text, 8);
  if (!bits || *bits > 0777) return std::nullopt;
  return static_cast<std::uint32_t>(*bits);
}

std::string format_bytes(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  constexpr double kRoundsUp = 1023.95;  // more would be shown as 1024.0
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= (unit == 0 ? 1024 : kRoundsUp) && unit < 6) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  const bool whole = unit == 0 || value == static_cast<double>(static_cast<std::uint64_t>(value));
  std::snprintf(text, sizeof text, whole ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string with_unit_of_time(const std::string& given) {
  return given.find_first_not_of("0123456789.") == std::string::npos ? given + " s" : given;
}

}  // namespace shmif::tools
