#pragma once
// Text: parts between separators, counts with their nouns, columns, what is safe to print, raw
// strings. Threads: any. Blocks: never.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace shmif::base {

/// The parts of `text` between the `at`s, which may be empty: always one more than there are `at`s.
/// The parts are views into `text`. Errors: throws std::bad_alloc.
inline std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

/// The lines of `text`, without their newlines; the last may lack its own. The lines are views into
/// `text`. Errors: throws std::bad_alloc.
inline std::vector<std::string_view> lines_in(std::string_view text) {
  std::vector<std::string_view> lines = split(text, '\n');
  if (lines.back().empty()) lines.pop_back();
  return lines;
}

/// "1 frame", "2 frames". `more`: the plural, if it is not `one` with an s.
inline std::string counted(std::uint64_t count, const std::string& one,
                           const std::string& more = {}) {
  return std::to_string(count) + ' ' + (count == 1 ? one : more.empty() ? one + 's' : more);
}

/// "0x1000".
inline std::string hex(std::uint64_t v) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
  return text;
}

/// Whether a character of UTF-8 begins with this byte.
inline bool begins_character(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
}

/// The number of columns of a terminal that `text` (UTF-8) takes, if every character takes one.
inline std::size_t columns_of(std::string_view text) noexcept {
  return static_cast<std::size_t>(std::ranges::count_if(text, begins_character));
}

/// The offset of the character that follows the first `columns` columns of `text`, or the size of
/// `text` if it is not longer.
inline std::size_t behind_columns(std::string_view text, std::size_t columns) noexcept {
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if (begins_character(text[at]) && columns-- == 0) break;
  }
  return at;
}

// Makes text from others safe to print: a terminal obeys control characters, a shell spaces.

/// `text` on one line. '?' replaces each control character (C0, C1, DEL), each line separator, each
/// character that changes the direction of the text, and each byte that is not valid UTF-8.
std::string printable(std::string_view text);

/// The same, but with an escape for each of them, so that different texts stay different:
/// "\\u202e" for a character, "\\x9b" for a byte that is not valid UTF-8.
std::string escaped(std::string_view text);

/// At most `max` (at least 3) characters of `text`, which is UTF-8; "..." replaces the end of a
/// longer text.
std::string shortened(std::string_view text, std::size_t max);

/// `word` in a form that a shell reads as one word: in quotes if it needs them.
std::string quote_word(std::string_view word);

/// A command for a message, to be copied into a shell: "PROGRAM WORD", in quotation marks. `word`
/// is quoted if a shell needs that.
std::string quote_command(std::string_view program, std::string_view word);

/// The text of a raw string of the source: paragraphs of one line each, for code that wraps them
/// itself. Leaves out the indentation and joins the lines. An empty line separates two paragraphs
/// ("\n\n"). A line that begins with "- " begins a row: it and the lines up to the next row or
/// empty line become one line, which begins with `row` and not with the dash. A line that is
/// indented by less than four columns begins a new line as it is: a program made it. A text of one
/// line stays as it is.
std::string unfolded(std::string_view text, std::string_view row = {});

}  // namespace shmif::base
