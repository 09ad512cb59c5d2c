// The labs of examples/labs, as they are.

#include <algorithm>
#include <regex>
#include <set>

#include "tests/support/paths.hpp"
#include "tests/tools/lab/lab_rig.hpp"

namespace shmif::test {
namespace {

const std::string kLabs = in_source("examples/labs/");

bool has_program(const std::string& name) {
  const std::string path = "PATH=$PATH:/usr/sbin:/sbin:/usr/lib/frr; command -v " + name;
  return run_program({"sh", "-c", path}).status == 0;
}

class LabExamples : public LabRig {
 protected:
  /// Runs an example to the end of its test. Skips if one of the programs is not there. `line`: a
  /// regular expression for a line of what it prints.
  void run_example(const std::string& name, const Words& programs, const std::string& line = "") {
    for (const std::string& each : programs) {
      if (!has_program(each)) GTEST_SKIP() << "no " << each;
    }
    const ToolResult r = up(kLabs + name + ".toml", {"--time-limit", "100"});
    EXPECT_EQ(r.status, 0) << r.out << r.err;
    EXPECT_TRUE(std::regex_search(r.out, std::regex(line))) << line << '\n' << r.out;
  }
};

TEST_F(LabExamples, AreRightAndShort) {
  std::set<std::string> names;
  for (const auto& each : std::filesystem::directory_iterator(kLabs)) {
    if (each.path().extension() != ".toml") continue;
    names.insert(each.path().stem().string());
    const ToolResult r = run_tool({"check", each.path().string()});
    if (each.path().stem() == "kinds" && !has_program("podman")) continue;
    EXPECT_EQ(r.status, 0) << r.err;
    EXPECT_EQ(r.err, "") << "a warning";
    EXPECT_LT(count_of_lines(text_of(each.path().string())), 40) << each.path();
  }
  EXPECT_EQ(names, (std::set<std::string>{"burst", "dhcp", "keepalived", "kinds", "mesh", "mqtt",
                                          "ospf", "three", "two-machines"}))
      << "each has a test below, in machines_test.cpp, or in tests/machines";
}

TEST_F(LabExamples, ThreeHostsAndARouter) {
  run_example("three", {"curl", "busybox"});
}

TEST_F(LabExamples, ADhcpServerAndItsClients) {
  run_example("dhcp", {"dnsmasq", "udhcpc"},
              "PING client3\\.lab\\.test \\(198\\.18\\.0\\.1[0-9][0-9]\\)");
}

TEST_F(LabExamples, ThreeRoutersFindAnotherWayWhenALineFails) {
  run_example("ospf", {"zebra", "ospfd", "vtysh", "tcpdump"},
              "user got the next answer \\(home\\.pcapng\\); [1-9][0-9]* requests were lost");
}

TEST_F(LabExamples, AVirtualAddressMovesWhenItsServerFails) {
  run_example("keepalived", {"keepalived", "tcpdump"},
              "user got the next answer \\(lan\\.pcapng\\); [1-9][0-9]* requests were lost");
}

TEST_F(LabExamples, FortyClientsComeBackToTheirBroker) {
  run_example("mqtt", {"mosquitto", "mosquitto_sub"}, "all 40 are back");
}

TEST_F(LabExamples, TcpIsSlowerOverLinesThatLoseMore) {
  run_example("burst", {"iperf3"}, " 10\\.0 %  reno  ");
}

TEST_F(LabExamples, AMeshOfTenHosts) {
  run_example("mesh", {"ping"});
}

}  // namespace
}  // namespace shmif::test
