#include "tools/common/options_help.hpp"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <vector>

#include "base/quantity.hpp"
#include "tools/common/command.hpp"
#include "tools/common/options.hpp"

namespace shmif::tools {

namespace {

constexpr std::size_t kColumns = 80;
constexpr std::string_view kBoldFont = "\\fB";
constexpr std::string_view kItalicFont = "\\fI";
constexpr std::string_view kPlainFont = "\\fR";
constexpr const char* kList = ".Bl -tag -width Ds -compact\n";

bool is_capital(char c) {
  return c >= 'A' && c <= 'Z';
}

bool is_letter(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0;
}

/// `text` without what roff would take for a request, and with the characters that it would
/// replace by typographic ones. Hyphens of options stay hyphens, so that they can be copied.
std::string escaped(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    switch (const char c = text[at]) {
      case '\\': out += "\\e"; break;
      case '^': out += "\\(ha"; break;
      case '~': out += "\\(ti"; break;
      case '`': out += "\\(ga"; break;
      case '-': {
        const bool begins = at == 0 || !is_letter(text[at - 1]);
        out += begins ? "\\-" : "-";
        break;
      }
      default: out += c;
    }
  }
  // The only character beyond ASCII in our texts.
  constexpr std::string_view kPlusMinus = "±";
  for (std::size_t at = 0; (at = out.find(kPlusMinus, at)) != std::string::npos;) {
    out.replace(at, kPlusMinus.size(), "\\(+-");
  }
  return out;
}

std::string set_in(std::string_view font, std::string_view text) {
  return std::string(font) + escaped(text) + std::string(kPlainFont);
}

/// The end of the option that begins at `at`: "--rate_min", "-w", "--flow=pause"; or `at`, if no
/// option begins there.
std::size_t end_of_option(std::string_view text, std::size_t at) {
  const bool is_long = text.substr(at).starts_with("--");
  std::size_t end = at + (is_long ? 2 : 1);
  if (end >= text.size() || !is_letter(text[end])) return at;
  if (!is_long) return end + 1 < text.size() && is_letter(text[end + 1]) ? at : end + 1;
  while (end < text.size() && (is_letter(text[end]) || text[end] == '-' || text[end] == '_')) ++end;
  return end;
}

/// The end of what is quoted from `at` on; npos if that is an apostrophe.
std::size_t end_of_quotation(std::string_view text, std::size_t at) {
  for (std::size_t end = at + 1; (end = text.find('\'', end)) != std::string_view::npos; ++end) {
    const bool is_last = end + 1 == text.size() || !is_letter(text[end + 1]);
    if (is_last && end > at + 1 && text[end - 1] != ' ') return end;
  }
  return std::string_view::npos;
}

/// Splits one paragraph into words, with their fonts. Each word of a quotation is bold.
std::vector<std::string> words_of(std::string_view text, const std::set<std::string>& names) {
  std::vector<std::string> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) words.push_back(std::move(word));
    word.clear();
  };
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    const char before = at == 0 ? ' ' : text[at - 1];
    const bool begins =
        before == ' ' || before == '(' || before == '[' || before == '/' || before == '"';
    std::size_t end = at + 1;
    if (c == ' ') {
      end_word();
    } else if (c == '\'' && begins && end_of_quotation(text, at) != std::string_view::npos) {
      end = end_of_quotation(text, at);
      std::string_view quoted = text.substr(at + 1, end - at - 1);
      for (std::size_t space; (space = quoted.find(' ')) != std::string_view::npos;) {
        word += set_in(kBoldFont, quoted.substr(0, space));
        end_word();
        quoted.remove_prefix(space + 1);
      }
      word += set_in(kBoldFont, quoted);
      ++end;
    } else if (c == '-' && begins && end_of_option(text, at) != at) {
      end = end_of_option(text, at);
      word += set_in(kBoldFont, text.substr(at, end - at));
    } else if (is_letter(c) && !is_letter(before)) {
      while (end < text.size() && is_letter(text[end])) ++end;
      const std::string name(text.substr(at, end - at));
      const bool is_whole = end == text.size() || (text[end] != '_' && !std::isdigit(text[end]));
      word += is_whole && before != '_' && names.contains(name) ? set_in(kItalicFont, name) : name;
    } else {
      while (end < text.size() && (text[end] & 0xC0) == 0x80) ++end;  // the rest of a character
      word += c == '-' && is_letter(before) ? "-" : escaped(text.substr(at, end - at));
    }
    at = end;
  }
  end_word();
  return words;
}

/// Whether a sentence ends between these words.
bool ends_sentence(std::string_view word, std::string_view next) {
  while (word.ends_with(')') || word.ends_with('"')) word.remove_suffix(1);
  if (!word.ends_with('.') || word.ends_with("..")) return false;
  for (const std::string_view font : {kBoldFont, kItalicFont}) {
    if (next.starts_with(font)) return true;
  }
  while (next.starts_with('(') || next.starts_with('"')) next.remove_prefix(1);
  return next.empty() || is_capital(next[0]) || next[0] == '\\' || std::isdigit(next[0]) != 0;
}

std::string paragraph(std::string_view text, const std::set<std::string>& names) {
  std::string out;
  std::size_t column = 0;
  const std::vector<std::string> words = words_of(text, names);
  for (std::size_t i = 0; i < words.size(); ++i) {
    const bool begins_line =
        i == 0 || ends_sentence(words[i - 1], words[i]) || column + 1 + words[i].size() > kColumns;
    if (begins_line) {
      if (i > 0) out += '\n';
      // Here these characters would begin a request.
      if (words[i].starts_with('.') || words[i].starts_with('\'')) out += "\\&";
      column = words[i].size();
    } else {
      out += ' ';
      column += 1 + words[i].size();
    }
    out += words[i];
  }
  // One change of the font is enough for neighbours.
  constexpr std::string_view kAgain = "\\fR \\fB";
  for (std::size_t at = 0; (at = out.find(kAgain, at)) != std::string::npos;) {
    out.replace(at, kAgain.size(), " ");
  }
  return out.empty() ? out : out + '\n';
}

/// "loss=1%: lose frames" or "stream:PATH listens" as an item of a list.
std::string item(std::string_view line, const std::set<std::string>& names) {
  const std::size_t colon = line.find(": ");
  const std::size_t end =
      std::min(colon != std::string_view::npos ? colon : line.find(' '), line.size());
  const std::size_t skipped = colon != std::string_view::npos ? 2 : 1;
  const std::string_view rest = line.substr(std::min(end + skipped, line.size()));
  return ".It Cm " + mdoc_argument(line.substr(0, end)) + '\n' + mdoc_sentence(rest, names);
}

}  // namespace

std::string mdoc_literal(std::string_view text) {
  const bool is_request = text.starts_with('.') || text.starts_with('\'');
  return (is_request ? "\\&" : "") + escaped(text);
}

std::string mdoc_argument(std::string_view text) {
  std::string out = "\"\\&";
  for (const char c : escaped(text)) out += c == '"' ? std::string("\\(dq") : std::string(1, c);
  return out + '"';
}

std::string mdoc_synopsis(std::string_view text) {
  std::string out;
  for (const std::string& word : words_of(text, stand_ins(text))) {
    out += (out.empty() ? "" : " ") + word;
  }
  return out;
}

std::set<std::string> stand_ins(std::string_view synopsis) {
  std::set<std::string> found;
  for (std::size_t at = 0; at < synopsis.size();) {
    std::size_t end = at;
    while (end < synopsis.size() && is_capital(synopsis[end])) ++end;
    if (end > at) found.emplace(synopsis.substr(at, end - at));
    at = end + 1;
  }
  return found;
}

std::string mdoc_text(std::string_view text, const std::set<std::string>& names) {
  std::string out;
  bool is_list = false;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.empty()) continue;
    const bool is_row = line.starts_with("  ");
    if (is_row != is_list) out += is_row ? kList : ".El\n";
    if (!is_row && !out.empty()) out += ".Pp\n";
    is_list = is_row;
    if (is_row) line.remove_prefix(2);
    out += is_row ? item(line, names) : paragraph(line, names);
  }
  return is_list ? out + ".El\n" : out;
}

std::string mdoc_sentence(std::string_view text, const std::set<std::string>& names) {
  std::string first(text.substr(0, text.find('\n')));
  text.remove_prefix(std::min(first.size() + 1, text.size()));
  const std::size_t end = std::min(first.find_first_of(" ,:;("), first.size());
  const bool is_word =
      std::all_of(first.begin(), first.begin() + static_cast<long>(end), is_letter);
  if (is_word && !first.empty()) {
    first[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(first[0])));
  }
  if (first.ends_with(';')) first.pop_back();
  if (!first.ends_with('.') && !first.ends_with(':')) first += '.';
  std::string out = paragraph(first, names);
  if (text.empty()) return out;
  out += kList;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (!line.empty()) out += item(line, names);
  }
  return out + ".El\n";
}

namespace {

// What Options says of itself: the text of --help, and the entry of the manual page.

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
