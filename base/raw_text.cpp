#include "base/raw_text.hpp"

#include <algorithm>

namespace shmif::base {

namespace {
constexpr std::size_t kIndentation = 4;
}

std::string unfolded(std::string_view text, std::string_view row) {
  if (text.find('\n') == std::string_view::npos) return std::string(text);
  std::string out;
  bool is_paragraph_over = false;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    line = line.substr(0, line.find_last_not_of(' ') + 1);
    const std::size_t indentation = std::min(line.find_first_not_of(' '), line.size());
    const bool is_as_it_is = indentation < kIndentation && !out.empty();
    if (!is_as_it_is) line.remove_prefix(indentation);
    if (line.empty()) {
      is_paragraph_over = !out.empty();
      continue;
    }
    const bool is_row = line.starts_with("- ");
    if (is_row) line.remove_prefix(2);
    if (is_paragraph_over) {
      out += "\n\n";
    } else if (!out.empty()) {
      out += is_row || is_as_it_is ? '\n' : ' ';
    }
    if (is_row) out += row;
    out += line;
    is_paragraph_over = false;
  }
  return out;
}

}  // namespace shmif::base
