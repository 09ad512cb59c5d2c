#pragma once
// What a refusal of shmifctl looks like, and how to see that nothing was left behind.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "tests/support/run_tool.hpp"

namespace shmif::test {

/// The names in a directory, to see that nothing was left behind.
inline Words names_in(const std::string& directory) {
  Words names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// One line, "shmifctl: cannot ...", that holds every one of `parts`.
inline void expect_refusal(const ToolResult& result, const Words& parts, int status = 1) {
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.status, status) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_EQ(result.err.rfind("shmifctl: cannot ", 0), 0U) << result.err;
  for (const std::string& part : parts) {
    EXPECT_TRUE(contains(result.err, part));
  }
}

}  // namespace shmif::test
