#pragma once
// shmifctl tap on devices of namespaces.

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "tap/tap_link.hpp"
#include "tests/tap/test_namespace.hpp"
#include "tests/tools/relay/peers_rig.hpp"

namespace shmif::test {

class TapCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = tap::test::no_namespaces_because(); !why.empty()) {
      GTEST_SKIP() << why;
    }
    if (const auto tun = tap::check_tun_device(); !tun) GTEST_SKIP() << tun.error().message;
  }
  static std::string path_of(const tap::test::TestNamespace& space) {
    return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(space.descriptor());
  }
  Words tap_in(const tap::test::TestNamespace& space, const Words& more) const {
    return Words{shmifctl_path(), "tap", bus, "--netns", path_of(space)} + more;
  }
  /// A bridge in `space` whose port is "br".
  static Words bridge_in(const tap::test::TestNamespace& space, const Words& more) {
    return Words{"nsenter", "--net=" + path_of(space), shmifctl_path(), "bridge", "--port-name",
                 "br"} +
           more;
  }
  static ToolResult run_inside(const tap::test::TestNamespace& space, const Words& words) {
    return run_program(Words{"nsenter", "--net=" + path_of(space)} + words);
  }
  /// Makes the TAP device "tt" there, which stays.
  static void add_tt(const tap::test::TestNamespace& space) {
    ASSERT_EQ(run_inside(space, {"ip", "tuntap", "add", "tt", "mode", "tap"}).status, 0);
  }
  static std::string features_of_lab0(const tap::test::TestNamespace& space) {
    return run_inside(space, {"ethtool", "-k", "lab0"}).out;
  }
  void wait_for_port(const std::string& name) const {
    const ToolResult waited = run_tool({"wait", bus, "--port", name, "--timeout", "100"});
    ASSERT_EQ(waited.status, 0) << waited.err;
  }
  static void end(Tool& tool) {
    tool.signal(SIGTERM);
    EXPECT_EQ(tool.finish().status, 0) << tool.so_far().err;
  }
  /// Whether `stat` comes to show that.
  bool becomes(const std::string& field) const {
    return eventually([&] { return contains(run_tool({"stat", bus, "--json"}).out, field); });
  }

  TempDir directory;
  std::string bus = directory.file("bus");
};

}  // namespace shmif::test
