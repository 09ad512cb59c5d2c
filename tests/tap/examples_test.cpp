// Examples that need namespaces and devices.

#include <gtest/gtest.h>

#include <string>

#include "tests/support/run_tool.hpp"
#include "tests/tap/tap_rig.hpp"

namespace shmif::tap::test {
namespace {

using shmif::test::run_program;
using shmif::test::ToolResult;

TEST(TapQueuesExample, EachFlowStaysInOrderInOneOfTheQueues) {
  if (const std::string why = no_tap_because(); !why.empty()) GTEST_SKIP() << why;
  const ToolResult result = run_program({shmif::test::in_build("examples/tap_queues")});
  EXPECT_EQ(result.status, 0) << result.err;
  const std::string begin = "800 datagrams of 16 flows, 800 in order, in ";
  ASSERT_TRUE(result.out.starts_with(begin)) << result.out;
  EXPECT_GT(std::stoi(result.out.substr(begin.size())), 1) << result.out;
}

TEST(HostRigExample, JudgesWhatAProgramSendsAndEndsIt) {
  if (const std::string why = no_tap_because(); !why.empty()) GTEST_SKIP() << why;
  const ToolResult result = run_program({shmif::test::in_build("examples/host_rig")});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("100 datagrams in order; the program ended with 143\n"),
            std::string::npos)
      << result.out;
}

TEST(PulledCableExample, HearsAllThatWasSentAndThenThatTheCableIsGone) {
  if (const std::string why = no_namespaces_because(); !why.empty()) GTEST_SKIP() << why;
  const ToolResult result = run_program({shmif::test::in_build("examples/pulled_cable")});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out.find("100 datagrams in order; then: "), 0U) << result.out;
  EXPECT_TRUE(result.out.ends_with("; eth0 is gone\n")) << result.out;
}

}  // namespace
}  // namespace shmif::tap::test
