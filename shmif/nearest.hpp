#pragma once
// Finds the word that a mistyped one most likely stands for.

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace shmif {

/// The word of `known` that is nearest to `word`; empty when none is near.
/// Threads: any. Blocks: never.
std::optional<std::string> nearest(std::string_view word, std::span<const std::string> known);

}  // namespace shmif
