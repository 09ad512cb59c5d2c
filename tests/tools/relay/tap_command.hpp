#pragma once
// shmifctl tap on devices of namespaces.

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tap/tap_link.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tap/test_namespace.hpp"

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
  std::vector<std::string> tap_in(const tap::test::TestNamespace& space,
                                  std::vector<std::string> more) const {
    std::vector<std::string> words = {shmifctl_path(), "tap", bus, "--netns", path_of(space)};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  /// A bridge in `space` whose port is "br".
  static std::vector<std::string> bridge_in(const tap::test::TestNamespace& space,
                                            const std::vector<std::string>& more) {
    std::vector<std::string> words = {
        "nsenter", "--net=" + path_of(space), shmifctl_path(), "bridge", "--port-name", "br"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static ToolResult run_inside(const tap::test::TestNamespace& space,
                               std::vector<std::string> words) {
    words.insert(words.begin(), {"nsenter", "--net=" + path_of(space)});
    return run_program(words);
  }
  void wait_for_port(const std::string& name) const {
    const ToolResult waited = run_tool({"wait", bus, "--port", name, "--timeout", "100"});
    ASSERT_EQ(waited.status, 0) << waited.err;
  }
  /// Whether `stat` comes to show that.
  bool becomes(const std::string& field) const {
    for (int i = 0; i < 1000; ++i) {
      if (run_tool({"stat", bus, "--json"}).out.find(field) != std::string::npos) return true;
      usleep(20'000);
    }
    return false;
  }

  TempDir directory;
  std::string bus = directory.file("bus");
};

}  // namespace shmif::test
