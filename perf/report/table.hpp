#pragma once
// Text in aligned columns, and what may go to a terminal.

#include <string>
#include <vector>

namespace shmif::perf {

/// Rows of cells; the first column goes to the left, the others to the right, two blanks between.
/// One that is wider than the place for it is folded: what does not fit stands below, behind the
/// first column again.
class Table {
 public:
  using Row = std::vector<std::string>;
  explicit Table(std::size_t indent = 2) : indent_(indent) {}
  void add(Row row) { rows_.push_back(std::move(row)); }
  bool empty() const noexcept { return rows_.empty(); }
  std::size_t rows() const noexcept { return rows_.size(); }
  /// `width`: how many columns there are; 0: as many as it takes.
  std::string text(std::size_t width = 0) const;

 private:
  void add_part(std::string& out, const std::vector<std::size_t>& widths, std::size_t from,
                std::size_t to) const;

  std::size_t indent_;
  std::vector<Row> rows_;
};

/// `line`, without its end, as lines of at most `width` columns, broken between words, not
/// between a figure and its unit; what goes on is indented by `indent`. 0: as it is.
std::string wrapped(const std::string& line, std::size_t width, std::size_t indent);

/// `text` on one line, without control characters: names and messages come from files that others
/// wrote, and a terminal obeys what it is sent.
std::string printable(const std::string& text);

}  // namespace shmif::perf
