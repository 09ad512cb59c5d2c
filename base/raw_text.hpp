#pragma once
// Paragraphs that the source writes as raw strings.

#include <string>
#include <string_view>

namespace shmif::base {

/// The text of a raw string: paragraphs of one line each, for code that wraps them itself. Leaves
/// out the indentation and joins the lines. An empty line separates two paragraphs ("\n\n"). A line
/// that begins with "- " begins a row: it and the lines up to the next row or empty line become one
/// line, which begins with `row` and not with the dash. A line that is indented by less than four
/// columns begins a new line as it is: a program made it. A text of one line stays as it is.
/// Threads: any. Blocks: never.
std::string unfolded(std::string_view text, std::string_view row = {});

}  // namespace shmif::base
