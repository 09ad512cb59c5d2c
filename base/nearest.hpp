#pragma once
// What users mean by a word that is not known: the word that they mistyped, or what our programs
// have in place of a word of other programs.

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace shmif::base {

/// The word of `known` that is most similar to `word`: one that begins with it, or else the one
/// that differs in the fewest letters. A word that differs in more than two letters, and in more
/// than a third of the letters of `word`, does not count; nor does one that differs in more than
/// half of the letters of the shorter word. Empty if no word is similar enough.
/// Threads: any. Blocks: never.
std::optional<std::string> nearest(std::string_view word, std::span<const std::string> known);

/// What `command` has in place of `word`, as a clause for a message: "write --fault loss=5%". Empty
/// if the table has no row for it. `command`: "dump"; or "shmifctl" for a word in the place of a
/// command. `word`: the name of an option without dashes; "WORD" for one word too many, or
/// "ADDRESS" if that is an IP address. `value`: what the user gave the option, or the word too
/// many; if it is empty, the clause has an example.
/// Threads: any. Blocks: never.
std::string right_way(std::string_view command, std::string_view word, std::string_view value = {});

}  // namespace shmif::base
