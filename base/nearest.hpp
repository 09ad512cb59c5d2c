#pragma once
// Finds the word that a mistyped one most likely stands for.

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace shmif::base {

/// The word of `known` that is most similar to `word`: one that begins with it, or else the one
/// that differs in the fewest letters. A word that differs in more than two letters, and in more
/// than a third of the letters of `word`, does not count. Empty if no word is similar enough.
/// Threads: any. Blocks: never.
std::optional<std::string> nearest(std::string_view word, std::span<const std::string> known);

}  // namespace shmif::base
