#pragma once
// split(): the parts of a text between separators.

#include <cstddef>
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

}  // namespace shmif::base
