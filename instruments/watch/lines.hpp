#pragma once
// The lines of the kernel's files.

#include <string_view>
#include <vector>

#include "base/text.hpp"

namespace shmif::perf {

/// The lines of `text` as views, without their newlines. The last one may lack its own. Threads:
/// any. Blocks: never.
inline std::vector<std::string_view> lines_in(std::string_view text) {
  std::vector<std::string_view> lines = base::split(text, '\n');
  if (lines.back().empty()) lines.pop_back();
  return lines;
}

}  // namespace shmif::perf
