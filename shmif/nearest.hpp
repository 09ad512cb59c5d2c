#pragma once
// What somebody who mistyped a word most likely meant.

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace shmif {

/// The word of `known` that is nearest to `word`; nothing when none is near.
/// Threads: any. Blocks: never.
std::optional<std::string> nearest(std::string_view word, std::span<const std::string> known);

}  // namespace shmif
