// What Options says of itself: the text of --help, and the entry of the manual page.

#include <algorithm>
#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include "base/quantity.hpp"
#include "tools/common/default_bus.hpp"
#include "tools/common/mdoc.hpp"
#include "tools/common/options.hpp"

namespace shmif::tools {
namespace {

constexpr std::size_t kHelpColumns = 80;
constexpr const char* kValuesText =
    "Every option takes sizes, counts, rates, times and shares in these forms. Case does not "
    "matter.";

}  // namespace

std::string wrapped(const std::string& text, std::size_t indent, std::size_t column) {
  if (const std::size_t line_end = text.find('\n'); line_end != std::string::npos) {
    return wrapped(text.substr(0, line_end), indent, column) + std::string(indent, ' ') +
           wrapped(text.substr(line_end + 1), indent, indent);
  }
  std::string out;
  std::size_t begin = 0;
  while (begin < text.size()) {
    std::size_t end = text.find(' ', begin);
    if (end == std::string::npos) end = text.size();
    const std::size_t length = end - begin;
    if (column + length > kHelpColumns && column > indent) {
      if (!out.empty() && out.back() == ' ') out.pop_back();
      out += '\n' + std::string(indent, ' ');
      column = indent;
    }
    out += text.substr(begin, length);
    column += length;
    if (end < text.size()) {
      out += ' ';
      ++column;
    }
    begin = end + 1;
  }
  return out + '\n';
}

std::string values_help() {
  std::string out = wrapped(kValuesText, 0, 0) + '\n';
  for (const base::Spelling& spelling : base::kSpellings) {
    std::string left = std::string("  ") + spelling.kind;
    left.resize(9, ' ');
    out += left + wrapped(std::string(spelling.examples) + ": " + spelling.meaning + '.', 9, 9);
  }
  return out;
}

std::string values_mdoc() {
  std::string out = ".Sh VALUES\n" + mdoc_text(kValuesText) + ".Bl -tag -width Ds\n";
  for (const base::Spelling& spelling : base::kSpellings) {
    out += std::string(".It Ar ") + spelling.kind + '\n';
    out += mdoc_text(std::string(spelling.examples) + ": " + spelling.meaning + '.');
  }
  return out + ".El\n";
}

std::string Options::help() const {
  std::string out = std::string("usage: ") + program_name() + ' ' + command_ + " [OPTION]..." +
                    (synopsis_.empty() ? "" : ' ' + synopsis_) + "\n\n";
  out += wrapped(about_, 0, 0) + '\n';
  if (has_bus_) {
    out += wrapped("If PATH is left out" + bus_condition_ + ", the bus is that of the variable " +
                       kBusVariable + " in the environment.",
                   0, 0) +
           '\n';
  }
  std::vector<Option> rows;
  for (const Option& option : options_) {
    if (!option.text.empty()) rows.push_back(option);
  }
  rows.push_back({0, "log-level", "LEVEL",
                  "report messages of this level and of all more serious ones: trace, debug, info, "
                  "warning (default), error, critical or off"});
  rows.push_back({0, "debug", "LIST", kDebugText});
  rows.push_back({'h', "help", "", "print this and exit"});
  std::vector<std::string> left;
  std::size_t width = 0;
  for (const Option& row : rows) {
    std::string text = row.letter != 0 ? std::string("  -") + row.letter : "    ";
    if (row.name.size() > 1) text += (row.letter != 0 ? ", --" : "  --") + row.name;
    if (row.alone) {
      text += "[=" + row.placeholder + ']';
    } else if (!row.placeholder.empty()) {
      text += ' ' + row.placeholder;
    }
    width = std::max(width, text.size());
    left.push_back(text);
  }
  out += "options:\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    out += left[i] + std::string(width + 2 - left[i].size(), ' ');
    out += wrapped(
        rows[i].text +
            (rows[i].often.empty() || rows[i].often == kOpen ? "" : " (" + rows[i].often + ')'),
        width + 2, width + 2);
  }
  if (!examples_.empty()) out += "\nexamples:\n";
  for (const auto& [line, text] : examples_) {
    out += "  " + line + '\n' + "      " + wrapped(text, 6, 6);
  }
  return out;
}

std::string Options::mdoc() const {
  const std::set<std::string> names = stand_ins(synopsis_);
  const std::string mark = ".\\\" @" + command_;
  const std::string synopsis = (options_.empty() ? "" : "[OPTION]... ") + synopsis_;
  const std::string heading = synopsis.empty() ? "" : " No " + mdoc_synopsis(synopsis);
  const std::string out =
      ".It Cm " + command_ + heading + '\n' + mdoc_text(about_, names) + mark + '\n';
  std::string list;
  for (const Option& row : options_) {
    if (row.often == kOpen) continue;
    list += ".It ";
    if (row.letter != 0) list += std::string("Fl ") + row.letter;
    if (row.name.size() > 1) list += (row.letter != 0 ? " , Fl Fl " : "Fl Fl ") + row.name;
    if (!row.placeholder.empty()) {
      const bool is_name =
          std::ranges::any_of(row.placeholder, [](char c) { return c >= 'A' && c <= 'Z'; });
      list += (is_name ? " Ar " : " Cm ") + mdoc_argument(row.placeholder);
    }
    std::set<std::string> known = names;
    known.merge(stand_ins(row.placeholder));
    const std::string often = row.often.empty() ? "" : " (" + row.often + ')';
    list += '\n';
    list += mdoc_sentence(row.text + often, known);
    list += mark;
    list += " --";
    list += row.name;
    list += '\n';
  }
  return list.empty() ? out : out + ".Bl -tag -width Ds\n" + list + ".El\n";
}

}  // namespace shmif::tools
