#pragma once
// Rows of the tables that a report shows to people.

#include <algorithm>
#include <string>
#include <vector>

namespace shmif::test {

using Cells = std::vector<std::string>;

/// The parts of the first line that begins so, blanks in front not counted, behind `from`.
inline Cells row_of(const std::string& text, const std::string& begin,
                    const std::string& from = "") {
  Cells cells;
  const std::size_t start = text.find("\n  " + begin, text.find(from));
  if (start == std::string::npos) return cells;
  const std::string line = text.substr(start + 3, text.find('\n', start + 1) - start - 3);
  for (std::size_t at = 0; at != std::string::npos;) {
    const std::size_t end = std::min(line.find("  ", at), line.size());
    cells.push_back(line.substr(at, end - at));
    at = line.find_first_not_of(' ', end);
  }
  return cells;
}

}  // namespace shmif::test
