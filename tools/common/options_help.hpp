#pragma once
// Texts of --help, also as parts of a manual page, in mdoc, the language of BSD's manual pages.

#include <set>
#include <string>
#include <string_view>

namespace shmif::tools {

/// Escapes what mdoc or roff would take for a command, as in a table that is printed as it is.
std::string mdoc_literal(std::string_view text);

/// `text` as one argument of a macro.
std::string mdoc_argument(std::string_view text);

/// A line of a synopsis, such as "[OPTION]... PATH": the words that stand for something are in
/// italics.
std::string mdoc_synopsis(std::string_view text);

/// The words of a synopsis or of the placeholder of an option that stand for something: those in
/// capitals.
std::set<std::string> stand_ins(std::string_view synopsis);

/// Paragraphs of --help: each sentence begins a line, and no line is too long for mandoc. Options
/// and what stands in single quotes are bold; `names`, the words that stand for something, are in
/// italics. A line that begins with two spaces is a row of a list: the text before its first space
/// or ": " is what it explains.
std::string mdoc_text(std::string_view text, const std::set<std::string>& names = {});

/// The same for the text of an option, which becomes a sentence: it gets a capital letter and a
/// full stop. Each further line of it is a row of a list.
std::string mdoc_sentence(std::string_view text, const std::set<std::string>& names);

}  // namespace shmif::tools
