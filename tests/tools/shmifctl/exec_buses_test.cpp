// shmifctl exec: a host on several buses. What is asked of one interface, and what happens to it,
// is not its neighbour's.

#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "shmif/port.hpp"
#include "tap/guest/neighbours.hpp"
#include "tap/tap_link.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

constexpr const char* kFindsIp = "PATH=$PATH:/sbin:/usr/sbin; ";

class ExecBuses : public ExecRig {
 protected:
  static std::optional<PortInfo> port_on(const std::string& path, const std::string& name) {
    const Result<Bus> opened = Bus::open(path);
    if (!opened) return std::nullopt;
    for (const PortInfo& each : opened->info().ports) {
      if (each.live && each.name == name) return each;
    }
    return std::nullopt;
  }
};
INSTANTIATE_TEST_SUITE_P(Each, ExecBuses, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecBuses, OptionsAreOfTheBusBeforeThem) {
  const std::string far = bus("far");
  for (const bool first_hears_all : {false, true}) {
    Words options{"--mac", "02:00:00:00:00:01", "--ifname", "left"};
    if (first_hears_all) options.emplace_back("--promisc");
    options.insert(options.end(), {"--bus", far, "--name", "b", "--mac", "02:00:00:00:00:02",
                                   "--ifname", "right"});
    if (!first_hears_all) options.emplace_back("--promisc");
    const auto host = start("a",
                            "cat /sys/class/net/left/address /sys/class/net/right/address; echo "
                            "ready; exec sleep 600",
                            options);
    ASSERT_TRUE(host->wait_for("02:00:00:00:00:01\n02:00:00:00:00:02\nready"));
    ASSERT_TRUE(eventually([&] { return port_on(far, "b").has_value(); }));
    EXPECT_EQ(port("a")->mac.to_string(), "02:00:00:00:00:01");
    EXPECT_EQ(port_on(far, "b")->mac.to_string(), "02:00:00:00:00:02");
    EXPECT_EQ(port("a")->promiscuous, first_hears_all);
    EXPECT_EQ(port_on(far, "b")->promiscuous, !first_hears_all);
    host->signal(SIGTERM);
    host->finish();
  }
}

TEST_P(ExecBuses, AnInterfaceThatGoesDownAndUpAgainShowsOnItsOwnPortOnly) {
  if (!has_program("ip")) GTEST_SKIP() << "no ip here";
  const std::string far = bus("far");
  const std::string go = file("go");
  ASSERT_EQ(::mkfifo(go.c_str(), 0666), 0);
  ASSERT_EQ(::chmod(go.c_str(), 0666), 0);
  const auto host = start(
      "a", std::string(kFindsIp) + "while read state; do ip link set tap1 $state; done <> " + go,
      {"--bus", far, "--name", "b", "--promisc"});
  ASSERT_TRUE(eventually([&] { return port("a")->carrier && port_on(far, "b")->carrier; }));
  for (const bool up : {false, true, false, true}) {
    std::ofstream(go) << (up ? "up\n" : "down\n");
    EXPECT_TRUE(eventually([&] { return port_on(far, "b")->carrier == up; })) << up;
    EXPECT_TRUE(port_on(far, "b")->promiscuous) << "as it was asked for";
    EXPECT_TRUE(port("a")->carrier);
    EXPECT_FALSE(port("a")->promiscuous);
  }
}

/// Who announces that address on the bus of the port, within half a minute.
std::optional<MacAddress> announcer_of(const std::string& address, Port& ear) {
  std::optional<MacAddress> owner;
  tap::AddressClaim claim({tap::Cidr::parse(address).value()},
                          [&](const tap::IpAddress&, MacAddress mac) {
                            owner = mac;
                            return true;
                          });
  static_cast<void>(eventually([&] {
    FrameBatch batch;
    static_cast<void>(ear.receive(batch));
    for (const FrameView& frame : batch.frames()) claim.look(frame, ear.mac());
    return owner.has_value();
  }));
  return owner;
}

void announce_as(Port& port, const std::string& address) {
  tap::AddressClaim({tap::Cidr::parse(address).value()}, {}).announce(port);
}

TEST_P(ExecBuses, AnAddressIsAnnouncedOnItsOwnBusAndAnotherHostThereThatHasItIsNamed) {
  const std::string far = bus("far");
  Port near_ear = shmif::test::port_on(bus(), {.name = "ear"});
  Port far_ear = shmif::test::port_on(far, {.name = "ear"});
  const auto host =
      start("a", "exec sleep 600",
            {"--ip", "198.18.0.1/24", "--bus", far, "--name", "b", "--ip", "198.18.1.1/24"});
  EXPECT_EQ(announcer_of("198.18.0.1/24", near_ear), port("a")->mac);
  EXPECT_EQ(announcer_of("198.18.1.1/24", far_ear), port_on(far, "b")->mac);
  announce_as(far_ear, "198.18.0.1/24");  // an address of the other bus
  announce_as(near_ear, "198.18.1.1/24");
  announce_as(far_ear, "198.18.1.1/24");
  EXPECT_TRUE(host->wait_for("exec: another host on " + far + " has the address 198.18.1.1, too: " +
                             far_ear.mac().to_string() + " (port \"ear\"); "));
  announce_as(near_ear, "198.18.0.1/24");
  EXPECT_TRUE(host->wait_for("exec: another host on " + bus() +
                             " has the address 198.18.0.1, too: " + near_ear.mac().to_string() +
                             " (port \"ear\"); "));
  host->signal(SIGTERM);
  EXPECT_EQ(times_in(host->finish().err, "another host"), 2U);
}

// The bus is looked for once a second.
using ExecLostBus = ExecBuses;
INSTANTIATE_TEST_SUITE_P(Each, ExecLostBus, ::testing::Values(exec_settings().front()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecLostBus, OfOneInterfaceIsFoundAgainEachTimeAndTheOtherGoesOn) {
  const std::string far = bus("far");
  const auto host = start(
      "a",
      "n=0; while :; do for to in 198.18.0.9 198.18.1.9; do ping -c 1 -W 0.1 $to; done > /dev/null "
      "2>&1; "
      "now=$(cat /sys/class/net/tap0/carrier)$(cat /sys/class/net/tap1/carrier); "
      "if [ \"$now\" != \"$last\" ]; then n=$((n + 1)); last=$now; "
      "test $now != 10 || ip link set tap1 promisc on; echo \"change $n: $now.\"; "
      "fi; sleep 0.02; done",
      {"--ip", "198.18.0.1/24", "--bus", far, "--name", "b", "--ip", "198.18.1.1/24"});
  ASSERT_TRUE(host->wait_for("change 1: 11."));
  for (int round = 0; round < 2; ++round) {
    const std::string out = "change " + std::to_string(2 * round + 2) + ": 10.";
    const std::string in = "change " + std::to_string(2 * round + 3) + ": 11.";
    std::filesystem::resize_file(far, 0);
    EXPECT_TRUE(host->wait_for(out));
    std::filesystem::remove(far);
    {
      // One that the interface was not made for: another MTU, or no super-frames.
      BusOptions unfit;
      unfit.mtu = round == 0 ? 9000 : 1500;
      unfit.ring_bytes = round == 0 ? 1U << 20U : 64U << 10U;
      Bus::create(far, unfit).value();
      std::this_thread::sleep_for(std::chrono::milliseconds(1300));
      EXPECT_FALSE(port_on(far, "b"));
      std::filesystem::remove(far);
    }
    (void)bus("far");
    EXPECT_TRUE(host->wait_for(in));
    EXPECT_TRUE(eventually([&] {
      const auto found = port_on(far, "b");
      return found && found->up && found->carrier && found->promiscuous;
    })) << round;
    EXPECT_TRUE(port("a")->carrier);
  }
  // Who is alone on the bridge then is not taken for who was there before.
  std::filesystem::resize_file(bus(), 0);
  EXPECT_TRUE(host->wait_for("change 6: 01."));
  std::filesystem::resize_file(far, 0);
  EXPECT_TRUE(host->wait_for("change 7: 00."));
  host->signal(SIGTERM);
  const std::string said = host->finish().err;
  const std::string lost = "bus:" + far + " is gone: ";
  const std::string until =
      "; the program goes on without it, and tap1 has no carrier until there is a bus at that path "
      "again\n";
  const std::size_t gone = said.find(lost);
  EXPECT_NE(gone, std::string::npos) << said;
  EXPECT_NE(said.find(until, gone), std::string::npos) << said;
  const std::string again = "there is a bus at " + far + " again, and tap1 has carrier";
  const std::size_t first = said.find(again);
  EXPECT_NE(first, std::string::npos) << said;
  EXPECT_NE(said.find(again, first + 1), std::string::npos) << said;
}

// Programs that open TAP devices themselves, in the LAN of a host: exec --lan --tap.

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

// The addresses for which a host hears frames without ever sending from them.

const MacAddress kFirst = *MacAddress::parse("02:00:00:00:00:01");
const MacAddress kSecond = *MacAddress::parse("02:00:00:00:00:02");
const MacAddress kUnlisted = *MacAddress::parse("02:00:00:00:00:99");

/// A host "h", and a port that sends to it.
class ExecMacs : public ExecRig {
 protected:
  void SetUp() override {
    ExecRig::SetUp();
    if (IsSkipped()) return;
    if (!has_program("bridge")) GTEST_SKIP() << "no ip here";
    host_ = start("h", "exec sleep 1000");
    ASSERT_TRUE(sender_.attach(bus()));
    ASSERT_FALSE(sender_.up());
  }

  /// Runs a command in the host.
  void change(const std::string& script) const {
    const ToolResult done =
        run_program(by_caller({shmifctl_path(), "enter", bus(), "h", "--", "sh", "-c", script}));
    EXPECT_EQ(done.status, 0) << script << ": " << done.err;
  }

  /// Whether the host's port delivers frames to `mac` in the end.
  bool becomes(MacAddress mac, bool heard) {
    return eventually([&] { return hears(mac) == heard; });
  }
  /// The host's own frames are far fewer than these.
  bool hears(MacAddress mac) {
    constexpr std::size_t kRounds = 6;
    constexpr std::uint64_t kFrames = kRounds * NumberedBatch::kMax;
    const PortInfo before = port("h").value();
    NumberedBatch frames(100);
    for (std::size_t i = 0; i < kRounds; ++i)
      EXPECT_FALSE(sender_.send(frames.make(1, 0, NumberedBatch::kMax, mac)).error);
    return has_got(before, kFrames);
  }

  /// The same with frames of VLAN 101.
  bool hears_tagged(MacAddress mac) {
    constexpr std::size_t kFrames = 300;
    std::vector<Bytes> tagged;
    for (std::size_t i = 0; i < kFrames; ++i) {
      tagged.push_back(make_frame(100, i, 1));
      std::memcpy(tagged.back().data(), mac.bytes.data(), mac.bytes.size());
    }
    const PortInfo before = port("h").value();
    EXPECT_EQ(sender_.send(views(tagged)).taken, kFrames);
    return has_got(before, kFrames);
  }

  /// Waits until so many frames have reached the port. Result: whether it delivered them.
  bool has_got(const PortInfo& before, std::uint64_t frames) {
    PortInfo after = before;
    EXPECT_TRUE(eventually([&] {
      after = port("h").value();
      return after.rx_frames + after.filtered_frames >=
             before.rx_frames + before.filtered_frames + frames;
    }));
    return after.rx_frames - before.rx_frames >= frames;
  }

  std::unique_ptr<Tool> host_;
  Port sender_{{.name = "sender"}};
};
INSTANTIATE_TEST_SUITE_P(Each, ExecMacs, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecMacs, AHostHearsForItsMacvlansAndForTheListOfItsInterface) {
  EXPECT_FALSE(hears(kFirst));
  change("bridge fdb add 02:00:00:00:00:01 dev tap0 self");
  EXPECT_TRUE(becomes(kFirst, true));
  EXPECT_FALSE(hears(kUnlisted));
  EXPECT_FALSE(port("h")->promiscuous) << "it hears no more than a card would";
  change("bridge fdb del 02:00:00:00:00:01 dev tap0 self");
  EXPECT_TRUE(becomes(kFirst, false));
  const ToolResult made = run_program(
      by_caller({shmifctl_path(), "enter", bus(), "h", "--", "ip", "link", "add", "sub0", "link",
                 "tap0", "address", kSecond.to_string(), "type", "macvlan"}));
  if (made.status != 0) GTEST_SKIP() << "no macvlan here: " << made.err;
  change("echo 1 > /proc/sys/net/ipv6/conf/sub0/disable_ipv6; ip link set sub0 up");
  EXPECT_TRUE(becomes(kSecond, true));
  EXPECT_FALSE(hears(kUnlisted));
  change("ip link del sub0");
  EXPECT_TRUE(becomes(kSecond, false));
}

const std::string kIpv6Off =
    "for each in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $each; done; ";

// The kernel puts the address of a VLAN that has one of its own on the same list (when it opens the
// device, in net/8021q/vlan_dev.c). Without IPv6, such an interface sends nothing by which a port
// would learn its address.
TEST_P(ExecMacs, AHostHearsTaggedFramesForTheListOfItsInterfaceAlsoWithoutIpv6) {
  change(kIpv6Off);
  EXPECT_FALSE(hears_tagged(kFirst));
  change("bridge fdb add 02:00:00:00:00:01 dev tap0 self");
  EXPECT_TRUE(eventually([&] { return hears_tagged(kFirst); }));
  EXPECT_FALSE(hears_tagged(kUnlisted));
  change("bridge fdb del 02:00:00:00:00:01 dev tap0 self");
  EXPECT_TRUE(eventually([&] { return !hears_tagged(kFirst); }));
}

TEST_P(ExecMacs, AHostThatChangesItsAddressHearsForTheNewOneAndShowsIt) {
  const MacAddress before = port("h")->mac;
  EXPECT_TRUE(hears(before));
  change("ip link set tap0 address 02:00:00:00:00:01");
  EXPECT_TRUE(becomes(kFirst, true));
  EXPECT_TRUE(becomes(before, false));
  EXPECT_EQ(port("h")->mac, kFirst);
  change("ip link set tap0 address " + sender_.mac().to_string());
  EXPECT_TRUE(becomes(kFirst, true)) << "the new one belongs to another port";
  change("ip link set tap0 address 02:00:00:00:00:02");
  EXPECT_TRUE(becomes(kSecond, true));
  EXPECT_TRUE(becomes(kFirst, false));
  EXPECT_EQ(port("h")->mac, kSecond);
}

}  // namespace
}  // namespace shmif::test
