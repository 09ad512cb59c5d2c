#pragma once
// The debug lines that this process writes while one of these exists.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "shmif/debug/debug.hpp"

namespace shmif::test {

/// Threads: one at a time, and only one of them.
class DebugCapture {
 public:
  explicit DebugCapture(std::string_view category) : mark_(' ' + std::string(category) + ": ") {
    EXPECT_TRUE(add_debug(category));
    testing::internal::CaptureStderr();
  }
  DebugCapture(const DebugCapture&) = delete;
  DebugCapture& operator=(const DebugCapture&) = delete;
  ~DebugCapture() { end(); }

  /// What the lines say, without time, process and category. Ends the capture.
  std::vector<std::string> lines() {
    end();
    std::vector<std::string> all;
    std::string_view left = written_;
    while (!left.empty()) {
      const std::string_view line = left.substr(0, left.find('\n'));
      left.remove_prefix(std::min(left.size(), line.size() + 1));
      const std::size_t at = line.find(mark_);
      if (at != std::string_view::npos) all.emplace_back(line.substr(at + mark_.size()));
    }
    return all;
  }

 private:
  void end() {
    if (has_ended_) return;
    has_ended_ = true;
    written_ = testing::internal::GetCapturedStderr();
    clear_debug();
  }

  std::string mark_;
  std::string written_;
  bool has_ended_ = false;
};

}  // namespace shmif::test
