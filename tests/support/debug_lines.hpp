#pragma once
// What debug lines say.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <string>

#include "shmif/debug/debug.hpp"

namespace shmif::test {

/// Turns all categories off.
inline void clear_debug() {
  detail::debug_mask.store(0, std::memory_order_relaxed);
}

/// What lines of this category `act` causes in this process, each without what changes from run to
/// run: its time and process. Other lines are left out.
template <class Act>
std::string debug_lines_of(const std::string& category, Act act) {
  EXPECT_TRUE(add_debug(category));
  testing::internal::CaptureStderr();
  act();
  const std::string text = testing::internal::GetCapturedStderr();
  clear_debug();
  std::string said;
  const std::string mark = ' ' + category + ": ";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    const std::size_t found = line.find(mark);
    if (line.starts_with("debug ") && found != std::string::npos)
      said += line.substr(found + mark.size()) + '\n';
    at = end + 1;
  }
  return said;
}

}  // namespace shmif::test
