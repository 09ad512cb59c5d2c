// Programs that open TAP devices themselves, in the LAN of a host: exec --lan --tap.

#include <algorithm>
#include <fstream>
#include <random>

#include "tap/tap_link.hpp"
#include "tests/support/paths.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

std::vector<ExecSetting> lan_settings() {
  if (::geteuid() != 0) return {{false, "any", "Caller"}};
  return {{false, "tap", "RootViaTap", "600"},
          {false, "veth", "RootViaVeth"},
          {true, "tap", "UserViaTap", "666"},
          {true, "veth", "UserViaVeth", "666"}};
}

const std::string kMac = "02:00:00:00:0a:01";
const std::string kOtherMac = "02:00:00:00:0a:02";

class ExecLan : public ExecRig {
 protected:
  void SetUp() override {
    if (const auto tun = tap::check_tun_device(); !tun) GTEST_SKIP() << tun.error().message;
    ExecRig::SetUp();
  }

  /// The command line of the program on `device`.
  static std::string on_tap(const std::string& device, const std::string& mac,
                            const std::string& address, const std::string& deed) {
    return std::string(SHMIF_PYTHON) + ' ' + in_source("tests/tools/shmifctl/tap_program.py") +
           ' ' + device + ' ' + mac + ' ' + address + ' ' + deed;
  }
  /// A host whose program on "tap0" has the address 198.18.0.5 and does `deed`.
  std::unique_ptr<Tool> start_lan(const std::string& deed, Words options = {}) const {
    options.insert(options.end(), {"--lan", "--tap", "tap0"});
    auto host = start("lan", "exec " + on_tap("tap0", kMac, "198.18.0.5", deed), options);
    EXPECT_TRUE(host->wait_for("tap0 is open"));
    return host;
  }
  ToolResult ping(const std::string& address, const std::string& more = "") const {
    return run_shell("ping -q -c 2 -i 0.2 -w 20 " + more + ' ' + address,
                     {"--ip", "198.18.0.2/24"});
  }
  /// A new bus at the usual path.
  void make_bus(std::uint32_t mtu) const {
    Bus::destroy(bus(), true).value();
    static_cast<void>(bus("bus", mtu));
  }
};
INSTANTIATE_TEST_SUITE_P(Each, ExecLan, ::testing::ValuesIn(lan_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecLan, AProgramThatOpensATapIsReachedFromTheBusAndFromItsOwnHost) {
  const auto lan =
      start("lan",
            on_tap("tap0", kMac, "198.18.0.5", "answer") +
                " & ping -q -c 1 -i 0.2 -w 20 198.18.0.5 && echo own host reached; wait",
            {"--ip", "198.18.0.1/24", "--lan", "--tap", "tap0"});
  ASSERT_TRUE(lan->wait_for("own host reached"));
  for (const char* const address : {"198.18.0.5", "198.18.0.1"}) {
    const ToolResult pinged = ping(address);
    EXPECT_EQ(pinged.status, 0) << pinged.out << pinged.err;
  }
  EXPECT_TRUE(lan->wait_for("answered 198.18.0.2"));
  // The addresses are the bridge's, which has the MAC address of the port.
  const ToolResult listed = run_program(by_caller({shmifctl_path(), "ps", bus()}));
  EXPECT_TRUE(contains(listed.out, "lan0")) << listed.err;
  EXPECT_TRUE(contains(listed.out, "198.18.0.1/24"));
}

TEST_P(ExecLan, ProgramsOnTwoTapsHearEachOther) {
  const ToolResult result = run_shell(on_tap("tap0", kMac, "198.18.0.5", "answer") + " & exec " +
                                          on_tap("t1", kOtherMac, "198.18.0.6", "ping 198.18.0.5"),
                                      {"--lan", "--tap", "tap0", "--tap", "t1"});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_TRUE(contains(result.out, "198.18.0.5 answered"));
}

TEST_P(ExecLan, WithoutATapThereIsOnlyTheBridge) {
  const ToolResult shown = run_shell(
      "cd /sys/class/net/lan0; echo $(ls brif) $(cat bridge/stp_state bridge/multicast_snooping); "
      "cat address ../bus0/address; ping -q -c 1 -i 0.2 -w 20 198.18.0.1 >&2 && echo reached",
      {"--ip", "198.18.0.1/24", "--mac", kMac, "--lan"});
  EXPECT_EQ(shown.out, "bus0 0 0\n" + kMac + '\n' + kMac + "\nreached\n") << shown.err;
  const auto lan = start("lan", "sleep 600", {"--ip", "198.18.0.1/24", "--lan"});
  EXPECT_EQ(ping("198.18.0.1").status, 0);
}

TEST_P(ExecLan, EachBusHasALanOfItsOwn) {
  const std::string far = bus("far");
  const ToolResult shown =
      run_shell("cd /sys/class/net; echo $(ls lan0/brif) / $(ls lan1/brif)",
                {"--lan", "--tap", "a0", "--tap", "b0", "--bus", far, "--lan", "--tap", "a1"});
  EXPECT_EQ(shown.out, "a0 b0 bus0 / a1 bus1\n") << shown.err;
}

/// A frame in hexadecimal digits: destination, our source, and the rest, with zeros at the end.
std::string frame_of(const std::string& destination, const std::string& rest, std::size_t bytes) {
  const std::string begin = destination + "02000000000b" + rest;
  return begin + std::string(2 * bytes - begin.size(), '0');
}

TEST_P(ExecLan, FramesOfManyKindsCrossUnchanged) {
  constexpr std::size_t kMtu = 9000;
  make_bus(kMtu);
  std::string frames;
  for (const std::string& frame :
       {frame_of("ffffffffffff", "88b5", 60),                    // short
        frame_of("ffffffffffff", "88b5", kMtu + 14),             // jumbo
        frame_of("01005e7f0001", "88b5", 100),                   // a group that nobody has joined
        frame_of("0180c2000003", "888e", 60),                    // 802.1X
        frame_of("0180c200000e", "88cc", 60),                    // LLDP
        frame_of("0180c200000e", "88f7", 68),                    // PTP
        frame_of("ffffffffffff", "8100000588b5", kMtu + 18),     // one VLAN tag
        frame_of("ffffffffffff", "88a8000588b5", kMtu + 18)}) {  // of 802.1ad
    frames += ' ' + frame;
  }
  // The kernel drops two tags on a full frame on the way into a veth pair.
  if (GetParam().via == "tap") {
    frames += ' ' + frame_of("ffffffffffff", "88a800068100000588b5", kMtu + 22);
  }
  const auto lan = start_lan("hear" + frames);
  const auto other =
      start("other", "exec " + on_tap("t1", kOtherMac, "198.18.0.6", "send" + frames),
            {"--lan", "--tap", "t1"});
  const ToolResult result = lan->finish();
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(contains(result.out, "heard all"));
}

TEST_P(ExecLan, ThePortIsPromiscuousOnlyWhenAProgramIs) {
  const std::string prepare = "export PATH=$PATH:/usr/sbin:/sbin; ip link set bus0 ";
  const std::string down = file("down");
  const auto quiet =
      start("quiet", prepare + "down; touch " + down + "; sleep 600", {"--lan", "--tap", "tap0"});
  ASSERT_TRUE(eventually([&] { return ::access(down.c_str(), F_OK) == 0; }));
  ASSERT_TRUE(eventually([&] { return port("quiet") && !port("quiet")->carrier; }));
  EXPECT_FALSE(port("quiet")->promiscuous) << "the bridge sets promiscuous mode on its ports";
  const auto curious =
      start("curious", prepare + "promisc on; sleep 600", {"--lan", "--tap", "t1"});
  EXPECT_TRUE(eventually([&] { return port("curious") && port("curious")->promiscuous; }));
}

/// Two LANs that OpenVPN joins over a third bus.
TEST_P(ExecLan, OpenVpnJoinsTwoLans) {
  if (!has_program("openvpn")) GTEST_SKIP() << "openvpn is not installed";
  const std::string middle = bus("middle");
  const auto gate = [&](const std::string& name, const std::string& lan, const std::string& ours,
                        const std::string& theirs) {
    auto line = by_caller({shmifctl_path(), "exec",       lan,          "--via",
                           GetParam().via,  "--name",     name,         "--lan",
                           "--tap",         "tap0",       "--bus",      middle,
                           "--ip",          ours + "/24", "--",         "/usr/sbin/openvpn",
                           "--dev",         "tap0",       "--dev-type", "tap",
                           "--proto",       "udp",        "--local",    ours,
                           "--remote",      theirs,       "--auth",     "none",
                           "--cipher",      "none",       "--ping",     "1"});
    return std::make_unique<Tool>(line);
  };
  const std::string other_side = bus("other side");
  const auto left = gate("left", bus(), "198.18.9.1", "198.18.9.2");
  const auto right = gate("right", other_side, "198.18.9.2", "198.18.9.1");
  // Whole super-frames reach the LAN's bridge; the program gets the frames that they stand for.
  constexpr std::size_t kBytes = 1U << 20U;
  std::string data(kBytes, '\0');
  std::mt19937_64 random(1);
  std::ranges::generate(data, [&] { return static_cast<char>(random()); });
  std::ofstream(file("data"), std::ios::binary) << data;
  Tool server(by_caller({shmifctl_path(), "exec", other_side, "--via", GetParam().via, "--name",
                         "web", "--ip", "198.18.0.1/24", "--", "busybox", "httpd", "-f", "-p", "80",
                         "-h", file(".")}));
  ASSERT_TRUE(left->wait_for("Initialization Sequence Completed"));
  ASSERT_TRUE(right->wait_for("Initialization Sequence Completed"));
  const ToolResult got = run_shell(
      "ping -q -c 2 -i 0.2 -w 20 198.18.0.1 >&2; curl -sS --retry 20 --retry-connrefused "
      "--retry-delay 0 http://198.18.0.1/data | sha256sum",
      {"--ip", "198.18.0.2/24"});
  const ToolResult sum = run_program({"sha256sum", file("data")});
  EXPECT_EQ(got.out.substr(0, 64), sum.out.substr(0, 64)) << got.err;
}

/// Runs a command line of the shell as root with a /dev/net of its own. mknod makes `tun` in it
/// with the options `node`; empty: there is none. $0 is shmifctl, and $1 a bus for everybody.
ToolResult run_with_node(const std::string& node, const std::string& line) {
  const TempDir directory;
  ::chmod(directory.path().c_str(), 0777);
  const std::string bus = directory.file("bus");
  if (run_tool({"create", bus, "--mode", "666"}).status != 0) return {};
  const std::string make = node.empty() ? "true" : "mknod " + node + " /dev/net/tun c 10 200";
  return run_program({"unshare", "--mount", "sh", "-c",
                      "mount -t tmpfs none /dev/net && " + make + " && exec " + line,
                      shmifctl_path(), bus});
}

TEST(ExecLanUsers, AnyUserOfTheHostMayOpenTheTap) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: a second user";
  // The script is opened here: that user may not read the sources.
  const ToolResult opened = run_with_node(
      "-m 666",
      "\"$0\" exec \"$1\" --ip 198.18.0.1/24 --lan --tap tap0 -- setpriv --reuid 65001 "
      "--clear-groups --bounding-set -all " SHMIF_PYTHON
      " - tap0 02:00:00:00:0a:01 198.18.0.5 ping 198.18.0.1 <" +
          in_source("tests/tools/shmifctl/tap_program.py"));
  EXPECT_EQ(opened.status, 0) << opened.out << opened.err;
}

TEST(ExecLanUsers, AUserWhoMayNotOpenTheDeviceIsToldTheRemedy) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: makes a device node of another mode";
  const std::string call =
      "setpriv --reuid 65001 --regid 65001 --clear-groups \"$0\" exec \"$1\" --lan --tap tap0 -- "
      "true";
  const ToolResult closed = run_with_node("-m 600", call);
  EXPECT_EQ(closed.status, 77) << closed.err;
  EXPECT_TRUE(contains(closed.err, "chmod 0666 /dev/net/tun"));
  EXPECT_TRUE(contains(closed.err, "shmifctl bridge"));
  const ToolResult missing = run_with_node("", call);
  EXPECT_EQ(missing.status, 77) << missing.err;
  EXPECT_TRUE(contains(missing.err, "modprobe tun"));
  EXPECT_EQ(std::count(missing.err.begin(), missing.err.end(), '\n'), 1) << missing.err;
}

}  // namespace
}  // namespace shmif::test
