#include "base/text.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <optional>

namespace shmif::base {
namespace {

/// A UTF-8 character and its length; length 0 if the text does not begin with a valid one.
struct Character {
  std::uint32_t code = 0;
  std::size_t length = 0;
};

Character first_of(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  if (lead < 0x80U) return {lead, 1};
  const std::size_t length = lead >= 0xF0U ? 4 : lead >= 0xE0U ? 3 : 2;
  if (lead < 0xC2U || lead > 0xF4U || text.size() < length) return {};
  std::uint32_t code = lead & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if (begins_character(text[i])) return {};
    code = code << 6U | (static_cast<unsigned char>(text[i]) & 0x3FU);
  }
  const bool too_long = (length == 3 && code < 0x800U) || (length == 4 && code < 0x10000U);
  if (too_long || code > 0x10FFFFU || (code >= 0xD800U && code <= 0xDFFFU)) return {};
  return {code, length};
}

bool steers_a_terminal(std::uint32_t code) {
  const auto within = [code](std::uint32_t from, std::uint32_t to) {
    return code >= from && code <= to;
  };
  return code < 0x20U || within(0x7F, 0x9F) || code == 0x61CU || within(0x200E, 0x200F) ||
         within(0x2028, 0x202E) || within(0x2066, 0x2069);
}

/// Returns `text` after `replace` has replaced each character that cannot be shown. `replace` gets
/// the bytes of the character and its code; the code is empty if the bytes are not valid UTF-8.
template <class Replace>
std::string replaced(std::string_view text, const Replace& replace) {
  std::string out;
  while (!text.empty()) {
    const Character c = first_of(text);
    const std::size_t length = c.length == 0 ? 1 : c.length;
    const std::string_view bytes = text.substr(0, length);
    if (c.length == 0) {
      out += replace(bytes, std::nullopt);
    } else if (steers_a_terminal(c.code)) {
      out += replace(bytes, std::optional(c.code));
    } else {
      out += bytes;
    }
    text.remove_prefix(length);
  }
  return out;
}

constexpr std::size_t kIndentation = 4;

}  // namespace

std::string printable(std::string_view text) {
  return replaced(text, [](std::string_view, std::optional<std::uint32_t>) { return '?'; });
}

std::string escaped(std::string_view text) {
  std::string doubled;
  for (const char c : text) doubled += c == '\\' ? std::string("\\\\") : std::string(1, c);
  return replaced(doubled, [](std::string_view bytes, std::optional<std::uint32_t> code) {
    char escape[8];  // no code has more than four digits
    if (code) {
      std::snprintf(escape, sizeof escape, "\\u%04x", *code & 0xFFFFU);
    } else {
      std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned char>(bytes.front()));
    }
    return std::string(escape);
  });
}

std::string shortened(std::string_view text, std::size_t max) {
  std::size_t characters = 0;
  std::size_t cut = 0;  // where to cut if the text is too long
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (!begins_character(text[at])) continue;
    if (characters + 3 == max) cut = at;
    ++characters;
  }
  if (characters <= max) return std::string(text);
  return std::string(text.substr(0, cut)) + "...";
}

std::string quote_word(std::string_view word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/%@^";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string_view::npos) {
    return std::string(word);
  }
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + '\'';
}

std::string quote_command(std::string_view program, std::string_view word) {
  const std::string quoted = quote_word(word);
  const char mark = quoted == word ? '\'' : '"';
  return mark + std::string(program) + ' ' + quoted + mark;
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
