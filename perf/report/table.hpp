#pragma once
// Text in aligned columns, and text that is safe for a terminal.

#include <string>
#include <vector>

namespace shmif::perf {

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
