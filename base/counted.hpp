#pragma once
// Counts with their nouns, for messages.

#include <cstdint>
#include <string>

namespace shmif::base {

/// "1 frame", "2 frames". `more`: the plural, if it is not `one` with an s. Threads: any. Blocks:
/// never.
inline std::string counted(std::uint64_t count, const std::string& one,
                           const std::string& more = {}) {
  return std::to_string(count) + ' ' + (count == 1 ? one : more.empty() ? one + 's' : more);
}

}  // namespace shmif::base
