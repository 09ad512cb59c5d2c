// examples/tap_queues.cpp: the flows of a device on several threads.

#include <gtest/gtest.h>

#include <string>

#include "tests/support/run_tool.hpp"
#include "tests/tap/tap_rig.hpp"

namespace shmif::tap::test {
namespace {

TEST(TapQueuesExample, EachFlowStaysInOrderInOneOfTheQueues) {
  if (const std::string why = no_tap_because(); !why.empty()) GTEST_SKIP() << why;
  const shmif::test::ToolResult result = shmif::test::run_program({SHMIF_TAP_QUEUES});
  EXPECT_EQ(result.status, 0) << result.err;
  const std::string begin = "800 datagrams of 16 flows, 800 in order, in ";
  ASSERT_TRUE(result.out.starts_with(begin)) << result.out;
  EXPECT_GT(std::stoi(result.out.substr(begin.size())), 1) << result.out;
}

}  // namespace
}  // namespace shmif::tap::test
