#pragma once
// shmifperf in the hands of a user without any rights.

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/tools/shmifperf/perf_server_rig.hpp"

namespace shmif::test {

/// `shmifperf ARGUMENTS` as a user without any rights.
inline Words as_ordinary(const Words& arguments) {
  return kAsNobody + shmifperf_words(arguments);
}

class Unprivileged : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = why_not_as_nobody(); !why.empty()) GTEST_SKIP() << why;
    paranoid_ = std::atoi(text_of_file("/proc/sys/kernel/perf_event_paranoid").c_str());
  }
  Json json_of(const Words& arguments) {
    const ToolResult result = run_program(as_ordinary(arguments));
    EXPECT_EQ(result.status, 0) << result.err;
    const Json json = Json::parse(result.out, nullptr, false);
    EXPECT_TRUE(json.is_object()) << result.out << result.err;
    return json;
  }
  /// The kernel permits this user to count, but not what happens in the kernel.
  bool only_user_space() const { return paranoid_ == 2; }

  int paranoid_ = 0;
};

}  // namespace shmif::test
