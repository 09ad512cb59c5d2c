#pragma once
// Makes text from others safe to print: a terminal obeys control characters, a shell spaces.
//
// Threads: any. Blocks: never.

#include <string>
#include <string_view>

namespace shmif::base {

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

}  // namespace shmif::base
