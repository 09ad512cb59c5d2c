#include "perf/report/table.hpp"

#include <algorithm>
#include <string_view>

#include "base/text.hpp"
#include "perf/report/units.hpp"

namespace shmif::perf {

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
