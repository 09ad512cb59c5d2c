// shmifctl in a sandbox of bubblewrap that has no network, no /dev/net/tun and no other processes.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ostream>
#include <string>
#include <vector>

#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

using Line = Words;

std::vector<ExecSetting> sandbox_settings() {
  if (::geteuid() != 0) return {{false, "veth", "Caller"}};
  return {{false, "veth", "Root"}, {true, "veth", "User", "666"}};
}

class Sandbox : public ExecRig {
 protected:
  void SetUp() override {
    if (!has_program("bwrap")) GTEST_SKIP() << "bubblewrap is not installed";
    const ToolResult probe = run_program(sandboxed({"true"}));
    if (probe.status != 0) GTEST_SKIP() << "no namespaces here: " << probe.err;
    ExecRig::SetUp();
  }
  /// The command line of a program that sees all files of the machine, and may write to those of
  /// the test.
  Line sandboxed(Line words, const Line& more = {}) const {
    Line all = {"bwrap",
                "--unshare-all",
                "--die-with-parent",
                "--ro-bind",
                "/",
                "/",
                "--proc",
                "/proc",
                "--dev",
                "/dev",
                "--bind",
                file("."),
                file(".")};
    all.insert(all.end(), more.begin(), more.end());
    all.insert(all.end(), words.begin(), words.end());
    return by_caller(std::move(all));
  }
};
INSTANTIATE_TEST_SUITE_P(Each, Sandbox, ::testing::ValuesIn(sandbox_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(Sandbox, NeedsOnlyTheFileOfTheBusToSendAndReceive) {
  const auto host = start("a", "sleep 600", {"--ip", "198.18.0.1/24"});
  const ToolResult pinged = run_program(
      sandboxed({shmifctl_path(), "ping", bus(), "--to", "a", "-c", "2", "--timeout", "100"}));
  EXPECT_EQ(pinged.status, 0) << pinged.err;
  EXPECT_TRUE(contains(pinged.out, "2 answered, 0 lost"));

  Tool dump(sandboxed({shmifctl_path(), "dump", bus(), "-c", "1", "icmp"}));
  ASSERT_TRUE(eventually([&] { return Bus::open(bus()).value().info().ports.size() == 2; }));
  EXPECT_EQ(
      run({"ping", "-q", "-c", "1", "-w", "20", "198.18.0.1"}, {"--ip", "198.18.0.2/24"}).status,
      0);
  const ToolResult dumped = dump.finish();
  EXPECT_TRUE(contains(dumped.out, "198.18.0.2 > 198.18.0.1: ICMP echo request")) << dumped.err;
}

TEST_P(Sandbox, SharesASocketOfItsBridgeWithTheOutside) {
  const std::string far = bus("far");
  const auto near_host = start("a", "sleep 600", {"--ip", "198.18.0.1/24"});
  Tool inside(sandboxed({shmifctl_path(), "bridge", "bus:" + bus(), "stream:" + file("s")}));
  ASSERT_TRUE(inside.wait_for("ready"));
  Tool outside(by_caller({shmifctl_path(), "bridge", "bus:" + far, "stream:connect=" + file("s")}));
  const ToolResult pinged = run_program(
      by_caller({shmifctl_path(), "exec", far, "--via", "veth", "--ip", "198.18.0.2/24", "--",
                 "ping", "-q", "-c", "2", "-i", "0.2", "-w", "20", "198.18.0.1"}));
  EXPECT_EQ(pinged.status, 0) << pinged.out << pinged.err << inside.so_far().err
                              << outside.so_far().err;
}

TEST_P(Sandbox, HostsInItHaveVethPairs) {
  const auto host = start("a", "sleep 600", {"--ip", "198.18.0.1/24"});
  const ToolResult pinged =
      run_program(sandboxed({shmifctl_path(), "exec", bus(), "--ip", "198.18.0.2/24", "--", "ping",
                             "-q", "-c", "2", "-i", "0.2", "-w", "20", "198.18.0.1"}));
  EXPECT_EQ(pinged.status, 0) << pinged.out << pinged.err;
}

TEST_P(Sandbox, WhatNeedsATapDeviceSaysSoAndWhatToDoInstead) {
  const auto said = [&](const Line& options, const Line& more = {}) {
    Line words = {shmifctl_path(), "exec", bus()};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"--", "true"});
    return run_program(sandboxed(words, more));
  };
  const ToolResult tap = said({"--via", "tap"});
  EXPECT_EQ(tap.status, 77);
  EXPECT_TRUE(contains(tap.err, "/dev/net/tun"));
  EXPECT_TRUE(contains(tap.err, "a veth pair needs no device node"));
  const ToolResult lan = said({"--lan", "--tap", "tap0"});
  EXPECT_EQ(lan.status, 77);
  EXPECT_TRUE(contains(lan.err, "pass the device into the container"));
  EXPECT_TRUE(contains(lan.err, "shmifctl bridge"));
  // The remedy that it names.
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "no TUN device here";
  const ToolResult passed =
      said({"--lan", "--tap", "tap0"}, {"--dev-bind", "/dev/net/tun", "/dev/net/tun"});
  EXPECT_EQ(passed.status, 0) << passed.err;
  const ToolResult closed = said({}, {"--unshare-user", "--disable-userns"});
  EXPECT_EQ(closed.status, 77);
  EXPECT_TRUE(contains(closed.err, "/proc/sys/user/max_*_namespaces"));
}

}  // namespace
}  // namespace shmif::test
