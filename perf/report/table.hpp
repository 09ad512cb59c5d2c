#pragma once
// Figures for people: three significant digits, a suitable unit, "-" for figures that were not
// measured. Plain ASCII, so one character is one column.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shmif::perf {

/// "1,234,567"
std::string format_count(std::optional<std::uint64_t> count);
/// "1 frame", "1,234 frames"
std::string format_counted(std::optional<std::uint64_t> count, const std::string& thing);
/// "850 ns", "12.3 us", "4.56 ms", "1.20 s"
std::string format_ns(std::optional<double> ns);
/// "30.0 s", "0.512 s", "2.00 ms"
std::string format_seconds(std::optional<double> seconds);
/// "1.54 Gbit/s"
std::string format_bps(std::optional<double> bps);
/// "950 /s", "1.54 M/s": frames per second
std::string format_fps(std::optional<double> fps);
/// "0 %", "0.0123 %", "99.9 %": a share, 0 to 1
std::string format_share(std::optional<double> share);
/// "64 B", "1.50 kB", "3.20 GB": powers of 1000, as in rates
std::string format_bytes(std::optional<std::uint64_t> bytes);
/// "15.6 GiB": memory
std::string format_memory(std::optional<std::uint64_t> bytes);

// Text in aligned columns, and text that is safe for a terminal.

/// Rows of cells. The first column is left-aligned, the others right-aligned, with two blanks
/// between. A table that is too wide is folded: the remaining columns stand below, next to the
/// first column again.
class Table {
 public:
  using Row = std::vector<std::string>;
  explicit Table(std::size_t indent = 2) : indent_(indent) {}
  void add(Row row) { rows_.push_back(std::move(row)); }
  bool empty() const noexcept { return rows_.empty(); }
  std::size_t rows() const noexcept { return rows_.size(); }
  /// `width`: the number of columns; 0: as many as needed.
  std::string text(std::size_t width = 0) const;

 private:
  void add_part(std::string& out, const std::vector<std::size_t>& widths, std::size_t from,
                std::size_t to) const;

  std::size_t indent_;
  std::vector<Row> rows_;
};

/// Breaks `line`, which has no line end, into lines of at most `width` columns: between words, but
/// not between a number and its unit. Continuation lines are indented by `indent`. 0: unchanged.
std::string wrapped(const std::string& line, std::size_t width, std::size_t indent);

/// `text` on one line, without control characters. Names and messages come from files that others
/// wrote, and control characters would control the terminal.
std::string printable(const std::string& text);

}  // namespace shmif::perf
