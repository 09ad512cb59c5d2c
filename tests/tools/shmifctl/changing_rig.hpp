#pragma once
// Hosts whose lines are changed while they run.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/eventually.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {

class Changing : public ::testing::Test {
 protected:
  using json = nlohmann::json;

  void SetUp() override {
    const ToolResult probe = run_tool({"exec", rig_.path(), "--", "true"});
    if (probe.status == 77) GTEST_SKIP() << "no hosts here: " << probe.err;
    ASSERT_EQ(probe.status, 0) << probe.err;
  }

  /// Starts a host, and waits until its port is up.
  std::unique_ptr<Tool> host(const std::string& name, const std::string& script, Words more = {}) {
    Words words = Words{shmifctl_path(), "exec", rig_.path(), "--name", name} + more;
    words.insert(words.end(), {"--", "sh", "-c", "PATH=$PATH:/sbin:/usr/sbin; " + script});
    auto tool = std::make_unique<Tool>(std::move(words));
    EXPECT_TRUE(rig_.wait_for_port(name)) << name;
    return tool;
  }
  ToolResult inside(const std::string& name, const std::string& script) {
    return run_tool(
        {"enter", rig_.path(), name, "--", "sh", "-c", "PATH=$PATH:/sbin:/usr/sbin; " + script});
  }
  ToolResult change(const std::string& command, Words more) {
    return run_tool(Words{command, rig_.path()} + more);
  }
  std::string done(const std::string& command, Words more) {
    const ToolResult result = change(command, std::move(more));
    EXPECT_EQ(result.status, 0) << command << ": " << result.err;
    return result.out;
  }
  json stat() { return json::parse(run_tool({"stat", rig_.path(), "--json"}).out); }
  json port_in_stat(const std::string& name) {
    const json all = stat();
    for (const json& port : all.at("ports")) {
      if (port.at("name") == name) return port;
    }
    return {};
  }
  /// Whether one host reaches another: a ping that gets its answer, or not one in three.
  bool reaches(const std::string& from, const std::string& to) {
    return inside(from, "ping -q -c 3 -i 0.2 -W 1 " + to).status == 0;
  }

  /// Numbers and comments of the frames of a capture, as tshark has them.
  static std::vector<std::pair<std::string, std::string>> comments(const std::string& capture) {
    const ToolResult shown = run_program(
        {"tshark", "-r", capture, "-T", "fields", "-e", "frame.number", "-e", "frame.comment"});
    EXPECT_EQ(shown.status, 0) << shown.err;
    std::vector<std::pair<std::string, std::string>> rows;
    std::istringstream in(shown.out);
    for (std::string line; std::getline(in, line);) {
      const std::size_t tab = line.find('\t');
      rows.emplace_back(line.substr(0, tab), line.substr(std::min(tab, line.size() - 1) + 1));
    }
    return rows;
  }
  static bool has_tshark() { return std::system("command -v tshark >/dev/null 2>&1") == 0; }

  BusRig rig_;
};

}  // namespace shmif::test
