#pragma once
// Small pieces of text: parts between separators, counts with their nouns, addresses.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace shmif::base {

/// The parts of `text` between the `at`s, which may be empty: always one more than there are `at`s.
/// The parts are views into `text`. Threads: any. Errors: throws std::bad_alloc.
inline std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

/// "1 frame", "2 frames". `more`: the plural, if it is not `one` with an s. Threads: any. Blocks:
/// never.
inline std::string counted(std::uint64_t count, const std::string& one,
                           const std::string& more = {}) {
  return std::to_string(count) + ' ' + (count == 1 ? one : more.empty() ? one + 's' : more);
}

/// "0x1000". Threads: any. Blocks: never.
inline std::string hex(std::uint64_t v) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
  return text;
}

}  // namespace shmif::base
