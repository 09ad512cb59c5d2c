#pragma once
// Text in aligned columns, and what may go to a terminal.

#include <string>
#include <vector>

namespace shmif::perf {

/// Rows of cells; the first column goes to the left, the others to the right, two blanks between.
class Table {
 public:
  using Row = std::vector<std::string>;
  explicit Table(std::size_t indent = 2) : indent_(indent) {}
  void add(Row row) { rows_.push_back(std::move(row)); }
  bool empty() const noexcept { return rows_.empty(); }
  std::size_t rows() const noexcept { return rows_.size(); }
  std::string text() const;

 private:
  std::size_t indent_;
  std::vector<Row> rows_;
};

/// `text` on one line, without control characters: names and messages come from files that others
/// wrote, and a terminal obeys what it is sent.
std::string printable(const std::string& text);

}  // namespace shmif::perf
