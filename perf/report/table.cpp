#include "perf/report/table.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <span>

#include "base/text.hpp"

namespace shmif::perf {
namespace {

/// Three significant digits, without an exponent for usual values.
std::string digits(double value) {
  const double size = std::fabs(value);
  std::array<char, 64> text{};
  // 9.995 rounds to 10.0, so the limits are where rounding goes up.
  const int decimals = size >= 99.95 || size == 0 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3;
  if (size != 0 && size < 0.0995) {
    std::snprintf(text.data(), text.size(), "%.3g", value);
  } else {
    std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  }
  return text.data();
}

struct Step {
  double size;
  const char* unit;
};

constexpr std::array<Step, 4> kTimes{{{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}, {1, "ns"}}};
constexpr std::array<Step, 5> kBitRates{
    {{1e12, "Tbit/s"}, {1e9, "Gbit/s"}, {1e6, "Mbit/s"}, {1e3, "kbit/s"}, {1, "bit/s"}}};
constexpr std::array<Step, 4> kFrameRates{{{1e9, "G/s"}, {1e6, "M/s"}, {1e3, "k/s"}, {1, "/s"}}};
constexpr std::array<Step, 5> kBytes{
    {{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}, {1, "B"}}};
constexpr std::array<Step, 5> kMemory{{{1099511627776.0, "TiB"},
                                       {1073741824.0, "GiB"},
                                       {1048576.0, "MiB"},
                                       {1024.0, "KiB"},
                                       {1, "B"}}};

/// Uses the greatest unit that keeps the number at one or more; otherwise the last of `steps`.
std::string scaled(double value, std::span<const Step> steps) {
  for (const Step& step : steps) {
    // A value that rounds up to the next unit is shown in that unit: 1.00 M, not 1000 k.
    if (std::fabs(value) >= step.size * 0.9995) return digits(value / step.size) + ' ' + step.unit;
  }
  return digits(value / steps.back().size) + ' ' + steps.back().unit;
}

bool known(std::optional<double> value) {
  return value && std::isfinite(*value);
}

/// Whether `word` is a unit that follows a number here or in other messages: "ms", "%".
bool is_unit(std::string_view word) {
  const auto has = [&](std::span<const Step> steps) {
    return std::ranges::any_of(steps, [&](const Step& step) { return step.unit == word; });
  };
  return word == "%" || word == "MHz" || word == "frames/s" || has(kTimes) || has(kBitRates) ||
         has(kFrameRates) || has(kBytes) || has(kMemory);
}

}  // namespace

std::string format_count(std::optional<std::uint64_t> count) {
  if (!count) return "-";
  std::string text = std::to_string(*count);
  for (auto i = static_cast<std::ptrdiff_t>(text.size()) - 3; i > 0; i -= 3) {
    text.insert(static_cast<std::size_t>(i), 1, ',');
  }
  return text;
}

std::string format_counted(std::optional<std::uint64_t> count, const std::string& thing) {
  return format_count(count) + ' ' + thing + (count == 1 ? "" : "s");
}

std::string format_ns(std::optional<double> ns) {
  if (!known(ns)) return "-";
  return scaled(*ns, kTimes);
}

std::string format_seconds(std::optional<double> seconds) {
  if (!known(seconds)) return "-";
  if (*seconds == 0) return "0 s";
  // From a tenth of a second, seconds are easier to read than hundreds of milliseconds.
  return *seconds >= 0.09995 ? digits(*seconds) + " s" : format_ns(*seconds * 1e9);
}

std::string format_bps(std::optional<double> bps) {
  if (!known(bps)) return "-";
  return scaled(*bps, kBitRates);
}

std::string format_fps(std::optional<double> fps) {
  if (!known(fps)) return "-";
  return scaled(*fps, kFrameRates);
}

std::string format_share(std::optional<double> share) {
  if (!known(share)) return "-";
  return digits(*share * 100) + " %";
}

std::string format_bytes(std::optional<std::uint64_t> bytes) {
  if (!bytes) return "-";
  return scaled(static_cast<double>(*bytes), kBytes);
}

std::string format_memory(std::optional<std::uint64_t> bytes) {
  if (!bytes) return "-";
  return scaled(static_cast<double>(*bytes), kMemory);
}

using base::behind_columns;
using base::columns_of;

namespace {

/// Whether the blank at `at` is between a number and its unit.
bool is_within_a_figure(std::string_view line, std::size_t at) {
  if (at == 0 || line[at - 1] < '0' || line[at - 1] > '9') return false;
  const std::string_view behind = line.substr(at + 1);
  const std::string_view word = behind.substr(0, behind.find(' '));
  return is_unit(word.substr(0, word.find_last_not_of(",;:.)") + 1));  // "ms," and "5 %)" too
}

}  // namespace

/// Adds the first column, and the columns in [from, to).
void Table::add_part(std::string& out, const std::vector<std::size_t>& widths, std::size_t from,
                     std::size_t to) const {
  for (const Row& row : rows_) {
    std::string line(indent_, ' ');
    if (!row.empty()) line += row[0] + std::string(widths[0] - columns_of(row[0]), ' ');
    for (std::size_t i = from; i < std::min(to, row.size()); ++i) {
      line += "  " + std::string(widths[i] - columns_of(row[i]), ' ') + row[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
}

std::string Table::text(std::size_t width) const {
  std::vector<std::size_t> widths;
  for (const Row& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], columns_of(row[i]));
    }
  }
  std::string out;
  std::size_t from = 1;
  do {
    std::size_t to = from;
    std::size_t taken = indent_ + (widths.empty() ? 0 : widths[0]);
    // At least one column, however narrow the terminal is.
    while (to < widths.size() && (to == from || width == 0 || taken + 2 + widths[to] <= width)) {
      taken += 2 + widths[to++];
    }
    add_part(out, widths, from, to);
    from = to;
  } while (from < widths.size());
  return out;
}

std::string wrapped(const std::string& line, std::size_t width, std::size_t indent) {
  if (width <= indent + 20 || columns_of(line) <= width) return line + '\n';
  std::string out;
  std::string rest = line;
  while (columns_of(rest) > width) {
    const std::size_t begin = rest.find_first_not_of(' ');
    const std::size_t end = behind_columns(rest, width);
    std::size_t at = rest.rfind(' ', end);
    while (at != std::string::npos && is_within_a_figure(rest, at)) {
      at = rest.rfind(' ', at - 1);
    }
    if (at == std::string::npos || at <= begin) at = rest.find(' ', end);  // a longer word
    if (at == std::string::npos) break;
    out += rest.substr(0, at) + '\n';
    rest = std::string(indent, ' ') + rest.substr(at + 1);
  }
  return out + rest + '\n';
}

std::string printable(const std::string& text) {
  return base::printable(text);
}

}  // namespace shmif::perf
