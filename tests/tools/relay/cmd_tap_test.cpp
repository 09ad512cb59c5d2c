// tap: devices of other network namespaces on one bus, with unmodified programs talking over it.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "shmif/port.hpp"
#include "tap/features.hpp"
#include "tap/netlink.hpp"
#include "tap/packet_link.hpp"
#include "tap/tap_link.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tap/test_namespace.hpp"
#include "tests/tools/relay/tap_command.hpp"

namespace shmif::test {
namespace {

using tap::test::TestNamespace;

TEST_F(TapCommand, TwoNamespacesPingEachOtherOverIpv4AndIpv6) {
  const TestNamespace left;
  const TestNamespace right;
  Tool a(tap_in(left,
                {"--create", "--ip", "198.18.0.1/24", "--ip", "fd00::1/64", "--port-name", "a"}));
  wait_for_port("a");
  Tool b(tap_in(right, {"--ip", "198.18.0.2/24", "--ip", "fd00::2/64", "--port-name", "b"}));
  wait_for_port("b");
  for (const char* address : {"198.18.0.2", "fd00::2"}) {
    const ToolResult ping = run_inside(left, {"ping", "-c", "2", "-i", "0.2", "-W", "60", address});
    EXPECT_EQ(ping.status, 0) << ping.out << ping.err;
  }
  const ToolResult answered = run_tool({"ping", bus, "--to", "b", "-c", "1", "--timeout", "100"});
  EXPECT_EQ(answered.status, 0) << answered.err;
}

// Nobody there notices that the devices have one name.
TEST_F(TapCommand, DevicesOfOneNameReachEachOtherOverABusOfNetbsdsFormat) {
  ASSERT_EQ(run_tool({"create", bus, "--format", "netbsd"}).status, 0);
  const TestNamespace left;
  const TestNamespace right;
  Tool a(tap_in(left, {"--name", "lab0", "--ip", "198.18.0.1/24"}));
  Tool b(tap_in(right, {"--name", "lab0", "--ip", "198.18.0.2/24"}));
  for (Tool* const each : {&a, &b}) {
    ASSERT_TRUE(each->wait_for("lab0 is on " + bus)) << each->so_far().err;
    EXPECT_EQ(times_in(each->so_far().err, "promises less"), 1U) << each->so_far().err;
  }
  EXPECT_NE(left.netlink().interface("lab0").value().mac,
            right.netlink().interface("lab0").value().mac);
  ToolResult ping;
  EXPECT_TRUE(eventually([&] {
    ping = run_inside(left, {"ping", "-c", "2", "-i", "0.2", "-W", "60", "198.18.0.2"});
    return ping.status == 0;
  })) << ping.out
      << ping.err;
  a.signal(SIGTERM);
  EXPECT_EQ(a.finish().status, 0);
}

TEST_F(TapCommand, SigtermAndSigintEndItWithZeroAndTakeTheDeviceAway) {
  for (const int number : {SIGTERM, SIGINT}) {
    const TestNamespace space;
    Tool tap(tap_in(space, {"--create", "--name", "lab0", "--port-name", "first"}));
    wait_for_port("first");
    const MacAddress mac = space.netlink().interface("lab0").value().mac;
    tap.signal(number);
    const ToolResult result = tap.finish();
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err, "");
    EXPECT_EQ(result.out, "lab0 is on " + bus + " as port first, " + mac.to_string() + '\n');
    EXPECT_FALSE(space.netlink().interface("lab0"));
    EXPECT_EQ(run_tool({"destroy", bus}).status, 0) << "the port is gone, too";
  }
}

TEST_F(TapCommand, APersistentDeviceStaysAndIsUsedAgainWithItsAddress) {
  const TestNamespace space;
  MacAddress mac;
  for (int round = 0; round < 2; ++round) {
    Tool tap(tap_in(space, {"--create", "--name", "lab0", "--persist"}));
    wait_for_port("lab0");
    const tap::Interface device = space.netlink().interface("lab0").value();
    if (round == 1) {
      EXPECT_EQ(device.mac, mac);
    }
    mac = device.mac;
    EXPECT_NE(run_tool({"stat", bus, "--json"}).out.find(mac.to_string()), std::string::npos)
        << "the port has the device's address";
    tap.signal(SIGTERM);
    EXPECT_EQ(tap.finish().status, 0);
  }
  EXPECT_TRUE(space.netlink().interface("lab0"));
}

TEST_F(TapCommand, APersistentDeviceTakesTheAddressThatIsAskedForAndItsPortToo) {
  const TestNamespace space;
  for (const char* const mac : {"02:00:00:00:00:07", "02:00:00:00:00:08"}) {
    Tool tap(tap_in(space, {"--create", "--name", "lab0", "--persist", "--mac", mac}));
    EXPECT_TRUE(tap.wait_for("lab0 is on " + bus + " as port lab0, " + mac + '\n'));
    EXPECT_EQ(space.netlink().interface("lab0").value().mac.to_string(), mac);
    EXPECT_NE(run_tool({"stat", bus, "--json"}).out.find(mac), std::string::npos);
    tap.signal(SIGTERM);
    EXPECT_EQ(tap.finish().status, 0);
  }
}

/// Everything of the device "tt" that a command could leave altered.
std::string all_settings_of(const TestNamespace& space) {
  const tap::test::Inside inside(space);
  const tap::Netlink netlink = space.netlink();
  const tap::Interface device = netlink.interface("tt").value();
  std::string text = device.mac.to_string() + " mtu " + std::to_string(device.mtu) +
                     (device.is_up() ? " up" : " down") +
                     (netlink.tap_has_header("tt").value() ? " header" : " plain");
  const auto interfaces = netlink.interfaces().value();
  for (const tap::AddressedInterface& each : interfaces) {
    if (each.name != "tt") continue;
    for (const tap::Cidr& address : each.addresses) text += ' ' + address.to_string();
  }
  const UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto features = tap::Features::read(control.get(), "tt").value();
  for (const tap::Features::Feature& each : features.all()) {
    text += each.active ? " +" + each.name : "";
    text += each.requested ? " *" + each.name : "";
  }
  return text;
}

/// The keeper of the command that has `word` in its command line.
pid_t keeper_of(const std::string& word) {
  for (const auto& each : std::filesystem::directory_iterator("/proc")) {
    std::ifstream comm(each.path() / "comm");
    std::ifstream line(each.path() / "cmdline");
    std::string name;
    std::string words;
    if (!std::getline(comm, name) || name != "shmif-keeper") continue;
    std::getline(line, words);
    if (words.find(word) != std::string::npos) return std::stoi(each.path().filename());
  }
  return -1;
}

TEST_F(TapCommand, ADeviceThatExistedIsAsItWasAfterEachEndAlsoOfKilledCommands) {
  const TestNamespace space;
  {
    tap::TapOptions options;
    options.name = "tt";
    options.where = nullptr;
    options.mac = MacAddress::parse("02:00:00:00:00:99");
    options.mtu = 1400;
    options.addresses = {tap::Cidr::parse("198.18.8.1/24").value(),
                         tap::Cidr::parse("fd00::8/64").value()};
    options.persist = true;
    options.up = false;
    const tap::test::Inside inside(space);
    static_cast<void>(tap::TapLink::open(options).value());
  }
  ASSERT_EQ(run_tool({"create", bus, "--mtu", "1200"}).status, 0)
      << "with so small an MTU the kernel takes the IPv6 address away";
  const std::string before = all_settings_of(space);
  const std::vector<std::string> as_tap =
      tap_in(space, {"--name", "tt", "--ip", "198.18.0.9/24", "--mac", "02:00:00:00:00:55"});
  const std::vector<std::string> as_bridge{"nsenter",       "--net=" + path_of(space),
                                           shmifctl_path(), "bridge",
                                           "tap:tt",        "bus:" + bus,
                                           "--port-name",   "tt"};
  for (const auto& command : {as_tap, as_bridge}) {
    for (const int number : {SIGTERM, SIGKILL}) {
      Tool tool(command);
      wait_for_port("tt");
      EXPECT_NE(all_settings_of(space), before);
      // The hosts behind a device know it by its address. Only one that is asked for replaces it.
      EXPECT_EQ(space.netlink().interface("tt")->mac.to_string(),
                command == as_tap ? "02:00:00:00:00:55" : "02:00:00:00:00:99");
      tool.signal(number);
      tool.finish();
      EXPECT_TRUE(eventually([&] { return all_settings_of(space) == before; }))
          << all_settings_of(space) << "\ninstead of\n"
          << before;
      EXPECT_TRUE(eventually([&] { return keeper_of(bus) < 0; }));
    }
  }
  // Both killed: the next command on this device does it.
  Tool killed(as_tap);
  wait_for_port("tt");
  pid_t keeper = -1;  // it has its name soon after it was started
  ASSERT_TRUE(eventually([&] { return (keeper = keeper_of(bus)) > 1; }));
  ::kill(keeper, SIGKILL);
  killed.signal(SIGKILL);
  killed.finish();
  ASSERT_TRUE(eventually([&] { return keeper_of(bus) < 0; })) << "it has the device until it ends";
  EXPECT_NE(all_settings_of(space), before);
  Tool next(tap_in(space, {"--name", "tt"}));
  EXPECT_TRUE(next.wait_for("tt is on " + bus + " as port tt, 02:00:00:00:00:99\n"));
  next.signal(SIGTERM);
  EXPECT_EQ(next.finish().status, 0);
  EXPECT_EQ(all_settings_of(space), before);
}

/// How the files of the keepers of this namespace's devices begin; empty if there are none.
std::string state_files_of(const TestNamespace& space) {
  constexpr int kNamespaceCookie = 71;
  const tap::test::Inside inside(space);
  const UniqueFd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (::getsockopt(any.get(), SOL_SOCKET, kNamespaceCookie, &cookie, &size) != 0) return {};
  return "/run/shmif-tap-" + std::to_string(cookie) + '-';
}

// Settings of a device that others could have written are not given to it.
TEST_F(TapCommand, AStateThatOthersMayWriteIsNotBelieved) {
  const TestNamespace space;
  const MacAddress own = *MacAddress::parse("02:00:00:00:00:99");
  const MacAddress given = *MacAddress::parse("02:00:00:00:00:55");
  ASSERT_EQ(run_inside(space, {"ip", "tuntap", "add", "tt", "mode", "tap"}).status, 0);
  const std::string files = state_files_of(space);
  if (files.empty()) GTEST_SKIP() << "this kernel has no numbers for namespaces";
  const std::string state = files + std::to_string(space.netlink().interface("tt")->index);
  struct Case {
    mode_t more;
    uid_t owner;
    bool is_believed;
  };
  const uid_t self = ::geteuid();
  std::vector<Case> cases = {{0, self, true}, {S_IWGRP, self, false}, {S_IWOTH, self, false}};
  if (self == 0) cases.push_back({0, 65001, false});
  for (const Case& each : cases) {
    SCOPED_TRACE(std::to_string(each.more) + " of " + std::to_string(each.owner));
    ASSERT_TRUE(space.netlink().set_mac("tt", own));
    Tool killed(tap_in(space, {"--create", "--name", "tt", "--mac", given.to_string()}));
    wait_for_port("tt");
    pid_t keeper = -1;
    ASSERT_TRUE(eventually([&] { return (keeper = keeper_of(bus)) > 1; }));
    ::kill(keeper, SIGKILL);
    killed.signal(SIGKILL);
    killed.finish();
    ASSERT_TRUE(eventually([&] { return keeper_of(bus) < 0; }));
    ASSERT_EQ(::chmod(state.c_str(), 0600 | each.more), 0) << state;
    ASSERT_EQ(::chown(state.c_str(), each.owner, static_cast<gid_t>(-1)), 0) << state;
    Tool next(tap_in(space, {"--name", "tt"}));
    ASSERT_TRUE(next.wait_for("tt is on " + bus));
    next.signal(SIGTERM);
    EXPECT_EQ(next.finish().status, 0);
    EXPECT_EQ(space.netlink().interface("tt")->mac, each.is_believed ? own : given);
  }
}

TEST_F(TapCommand, OfADeviceThatWasDeletedNoFileIsLeft) {
  const TestNamespace space;
  const std::string files = state_files_of(space);
  if (files.empty()) GTEST_SKIP() << "this kernel has no numbers for namespaces";
  for (const bool killed : {false, true}) {
    ASSERT_EQ(run_inside(space, {"ip", "tuntap", "add", "tt", "mode", "tap"}).status, 0);
    const std::string file = files + std::to_string(space.netlink().interface("tt")->index);
    Tool tool(tap_in(space, {"--create", "--name", "tt"}));
    wait_for_port("tt");
    EXPECT_EQ(::access(file.c_str(), F_OK), 0) << file;
    if (killed) {
      pid_t keeper = -1;
      ASSERT_TRUE(eventually([&] { return (keeper = keeper_of(bus)) > 1; }));
      ::kill(keeper, SIGKILL);
      tool.signal(SIGKILL);
      tool.finish();
      ASSERT_TRUE(space.netlink().remove("tt"));
      EXPECT_EQ(::access(file.c_str(), F_OK), 0) << file;
      // The next command in that namespace removes it.
      ASSERT_EQ(run_inside(space, {"ip", "tuntap", "add", "next", "mode", "tap"}).status, 0);
      Tool next(tap_in(space, {"--name", "next"}));
      wait_for_port("next");
      EXPECT_NE(::access(file.c_str(), F_OK), 0) << file;
    } else {
      ASSERT_TRUE(space.netlink().remove("tt"));
      EXPECT_EQ(tool.finish().status, 1);
      EXPECT_TRUE(eventually([&] { return ::access(file.c_str(), F_OK) != 0; })) << file;
    }
  }
}

TEST_F(TapCommand, AnInterfaceThatTookTheNameOfAMovedDeviceIsNotChangedAtTheEnd) {
  const TestNamespace space;
  const TestNamespace other;
  ASSERT_EQ(run_inside(space, {"ip", "tuntap", "add", "lab0", "mode", "tap"}).status, 0);
  ASSERT_TRUE(space.netlink().set_mtu("lab0", 1400));
  Tool tap(tap_in(space, {"--create", "--name", "lab0", "--ip", "198.18.0.1/24"}));
  wait_for_port("lab0");
  ASSERT_TRUE(space.netlink().move_to("lab0", other.space()));
  ASSERT_TRUE(space.netlink().add_veth("lab0", "peer0"));
  ASSERT_TRUE(space.netlink().set_mtu("lab0", 1300));
  ASSERT_TRUE(space.netlink().add_address("lab0", *tap::Cidr::parse("198.18.0.1/24")));
  const MacAddress mac = space.netlink().interface("lab0")->mac;
  tap.signal(SIGTERM);
  const ToolResult result = tap.finish();
  EXPECT_EQ(result.status, 0) << result.err;
  const auto now = space.netlink().interface("lab0");
  EXPECT_EQ(now->mtu, 1300U);
  EXPECT_EQ(now->mac, mac);
  EXPECT_NE(run_inside(space, {"ip", "addr", "show", "dev", "lab0"}).out.find("198.18.0.1/24"),
            std::string::npos);
  EXPECT_TRUE(other.netlink().interface("lab0")) << "it stays where it is";
}

TEST_F(TapCommand, APersistentDeviceIsLeftWithTheOffloadsOfANewOne) {
  const TestNamespace space;
  Tool tap(tap_in(space, {"--create", "--name", "tt", "--persist"}));
  wait_for_port("tt");
  EXPECT_NE(all_settings_of(space).find("+tx-tcp-segmentation"), std::string::npos);
  tap.signal(SIGTERM);
  EXPECT_EQ(tap.finish().status, 0);
  EXPECT_EQ(all_settings_of(space).find("+tx-tcp-segmentation"), std::string::npos)
      << all_settings_of(space);
}

TEST_F(TapCommand, TheDeviceHasItsAddressesAgainWhenItComesUpAgain) {
  const TestNamespace space;
  Tool tap(
      tap_in(space, {"--create", "--name", "tt", "--ip", "198.18.0.3/24", "--ip", "fd00::3/64"}));
  wait_for_port("tt");
  ASSERT_TRUE(space.netlink().set_up("tt", false));
  EXPECT_EQ(all_settings_of(space).find("fd00::3/64"), std::string::npos);
  ASSERT_TRUE(space.netlink().set_up("tt"));
  EXPECT_TRUE(eventually([&] {
    return all_settings_of(space).find(" fd00::3/64") != std::string::npos;
  })) << all_settings_of(space);
}

TEST_F(TapCommand, TheDeviceGetsTheMtuOfTheBusAndTheMacAsked) {
  const TestNamespace space;
  Tool tap(tap_in(space, {"--create", "--mtu", "9000", "--mac", "02:00:00:00:00:07", "--port-name",
                          "machine"}));
  wait_for_port("machine");
  EXPECT_TRUE(tap.wait_for("tap0 is on " + bus + " as port machine, 02:00:00:00:00:07\n"));
  const tap::Interface device = space.netlink().interface("tap0").value();
  EXPECT_EQ(device.mtu, 9000U);
  EXPECT_EQ(device.mac.to_string(), "02:00:00:00:00:07");
}

TEST_F(TapCommand, ASecondDeviceOfTheSameNameElsewhereTakesTheNextFreePortName) {
  const TestNamespace left;
  const TestNamespace right;
  Tool a(tap_in(left, {"--create", "--name", "eth0"}));
  wait_for_port("eth0");
  Tool b(tap_in(right, {"--name", "eth0"}));
  EXPECT_TRUE(b.wait_for("as port port0"));
  const ToolResult refused = run_program(tap_in(right, {"--name", "eth1", "--port-name", "eth0"}));
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.err.find(std::to_string(a.pid())), std::string::npos)
      << "names the process that has it: " << refused.err;
  EXPECT_FALSE(right.netlink().interface("eth1"));
}

TEST_F(TapCommand, ASecondTapOnOneDeviceIsToldWhoHasItAndWhatToDo) {
  const TestNamespace space;
  ASSERT_EQ(run_tool({"create", bus}).status, 0);
  Port other;
  ASSERT_TRUE(other.attach(bus));
  Tool first(tap_in(space, {"--create", "--name", "lab0"}));
  wait_for_port("lab0");
  const ToolResult second = run_program(tap_in(space, {"--name", "lab0"}));
  EXPECT_EQ(second.status, 1);
  EXPECT_EQ(second.err, "shmifctl: cannot attach TAP device \"lab0\" to the bus " + bus +
                            ": process " + std::to_string(first.pid()) +
                            " has attached it there as port \"lab0\" (for a second device, choose "
                            "another --name)\n");
}

TEST_F(TapCommand, TwoDevicesOfOneBusOnOneKernelBridgeAreFoundToBeALoop) {
  const TestNamespace space;
  if (run_inside(space, {"ip", "link", "add", "br0", "type", "bridge"}).status != 0) {
    GTEST_SKIP() << "no kernel bridges here";
  }
  Tool a(tap_in(space, {"--create", "--name", "lab0"}));
  wait_for_port("lab0");
  Tool b(tap_in(space, {"--name", "lab1"}));
  wait_for_port("lab1");
  for (const char* device : {"lab0", "lab1"}) {
    ASSERT_EQ(run_inside(space, {"ip", "link", "set", device, "master", "br0"}).status, 0);
  }
  ASSERT_TRUE(space.netlink().set_up("br0"));
  // The bridge itself sends neighbour discovery to everybody; a ping of everybody does so surely.
  static_cast<void>(run_tool({"ping", bus, "-c", "1", "--timeout", "0.1"}));
  EXPECT_TRUE(a.wait_for("frames from bus:" + bus + " come back from tap:lab0"));
}

TEST_F(TapCommand, HearsWhatIsForOthersOnlyWhileSomebodyListensInOnTheDevice) {
  const TestNamespace space;
  Tool tap(tap_in(space, {"--create", "--name", "lab0"}));
  wait_for_port("lab0");
  const auto promiscuous = [&] {
    const std::string text = run_tool({"stat", bus, "--json"}).out;
    return text.find("\"promiscuous\": true") != std::string::npos;
  };
  const auto becomes = [&](bool wanted) {
    for (int i = 0; i < 1000; ++i) {
      if (promiscuous() == wanted) return true;
      usleep(20'000);
    }
    return false;
  };
  EXPECT_FALSE(promiscuous());
  ASSERT_TRUE(tap::test::set_promiscuous(space.space(), "lab0", true));
  EXPECT_TRUE(becomes(true));
  ASSERT_TRUE(tap::test::set_promiscuous(space.space(), "lab0", false));
  EXPECT_TRUE(becomes(false));
}

TEST_F(TapCommand, AnOrdinaryUserPutsARootlessContainerOnTheBus) {
  if (!others_can_run_tool()) GTEST_SKIP() << "another user cannot run " << shmifctl_path();
  ASSERT_EQ(chmod(directory.path().c_str(), 0777), 0);
  // In a mount namespace of its own /dev/net/tun is open to everybody, as on most distributions.
  const std::string script =
      "mount -t tmpfs none /mnt && mknod /mnt/tun c 10 200 && chmod 666 /mnt/tun &&\n"
      "mount --bind /mnt/tun /dev/net/tun || exit 99\n"
      "exec setpriv --reuid 1000 --regid 1000 --clear-groups sh -c '\n"
      "  unshare -rn sleep 30 & container=$!\n"
      "  while [ \"$(readlink /proc/$container/ns/net)\" = \"$(readlink /proc/self/ns/net)\" ]; "
      "do\n"
      "    kill -0 $container || exit 99; sleep 0.02\n"
      "  done\n"
      "  \"$1\" tap \"$2\" --create --netns $container --ip 198.18.0.9/24 & host=$!\n"
      "  \"$1\" wait \"$2\" --port tap0 --timeout 100; status=$?\n"
      "  kill $host && wait $host && kill $container; exit $status' sh \"$1\" \"$2\"";
  const ToolResult result =
      run_program({"unshare", "--mount", "sh", "-c", script, "sh", shmifctl_path(), bus});
  if (result.status == 99) GTEST_SKIP() << "no user namespaces for ordinary users: " << result.err;
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("tap0 is on"), std::string::npos) << result.out;
}

TEST_F(TapCommand, AFrameLongerThanTheBusCarriesIsCountedAndSaidOnceWithBothMtus) {
  const TestNamespace space;
  Tool tap(tap_in(space, {"--create", "--name", "lab0"}));
  wait_for_port("lab0");
  ASSERT_TRUE(space.netlink().set_mtu("lab0", 9000));
  {
    const tap::test::Inside inside(space);
    tap::PacketLink packets = tap::PacketLink::open("lab0").value();
    std::vector<std::byte> bytes(4014, std::byte{0x02});
    const FrameView frame(bytes.data(), bytes.size());
    for (int i = 0; i < 2; ++i) ASSERT_EQ(packets.send({&frame, 1}).taken, 1U);
  }
  ASSERT_TRUE(tap.wait_for("MTU 1500"));
  const std::string wanted = "\"too_long_frames\": 2";
  for (int i = 0; i < 1000; ++i) {
    if (run_tool({"stat", bus, "--json"}).out.find(wanted) != std::string::npos) break;
    usleep(20'000);
  }
  EXPECT_NE(run_tool({"stat", bus, "--json"}).out.find(wanted), std::string::npos);
  tap.signal(SIGTERM);
  const std::string said = tap.finish().err;
  EXPECT_NE(said.find("cannot pass on a frame of 4014 bytes from tap:lab0 (MTU 9000): it is too "
                      "long for bus:" +
                      bus + " (MTU 1500)"),
            std::string::npos)
      << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
}

TEST_F(TapCommand, HearsWhatIsForOthersAllTheTimeWhereThatWasAskedFor) {
  const TestNamespace space;
  Tool tap(tap_in(space, {"--create", "--name", "lab0", "--promisc"}));
  wait_for_port("lab0");
  const auto has = [&](const std::string& field) {
    for (int i = 0; i < 1000; ++i) {
      if (run_tool({"stat", bus, "--json"}).out.find(field) != std::string::npos) return true;
      usleep(20'000);
    }
    return false;
  };
  // A change of the device, whatever it is, changes nothing about that.
  for (const bool up : {false, true}) {
    ASSERT_TRUE(space.netlink().set_up("lab0", up));
    ASSERT_TRUE(has(std::string("\"carrier\": ") + (up ? "true" : "false")));
    EXPECT_TRUE(has("\"promiscuous\": true"));
  }
}

TEST_F(TapCommand, AMachineBehindItsDeviceHearsWhatIsForThat) {
  const TestNamespace left;
  const TestNamespace right;
  Tool a(tap_in(left, {"--create", "--name", "lab0", "--ip", "198.18.0.1/24"}));
  wait_for_port("lab0");
  Tool b(tap_in(right, {"--ip", "198.18.0.2/24", "--port-name", "b"}));
  wait_for_port("b");
  // Another address than that of the port, as of a machine that the device is bridged to.
  left.netlink().set_mac("lab0", *MacAddress::parse("02:00:00:00:00:77")).value();
  const ToolResult ping = run_inside(left, {"ping", "-c", "1", "-W", "60", "198.18.0.2"});
  EXPECT_EQ(ping.status, 0) << ping.out << ping.err;
}

TEST_F(TapCommand, WaitsForTheNameThatItWasGivenUntilItsOwnerHasGone) {
  ASSERT_EQ(run_tool({"create", bus}).status, 0);
  const TestNamespace space;
  PortOptions options;
  options.name = "given";
  Port owner(options);
  ASSERT_TRUE(owner.attach(bus));
  Tool tap(tap_in(space, {"--name", "lab0", "--port-name", "given"}));
  usleep(300'000);  // it finds the name taken
  ASSERT_FALSE(owner.detach());
  EXPECT_TRUE(tap.wait_for("as port given")) << tap.so_far().err;
}

/// As that of a `tap` that was killed a moment ago.
TEST_F(TapCommand, ADeviceThatStayedWaitsForItsAddressAndKeepsItsName) {
  ASSERT_EQ(run_tool({"create", bus}).status, 0);
  const TestNamespace space;
  ASSERT_EQ(run_inside(space, {"ip", "tuntap", "add", "tt", "mode", "tap"}).status, 0);
  PortOptions options;
  options.mac = space.netlink().interface("tt").value().mac;
  Port owner(options);
  ASSERT_TRUE(owner.attach(bus));
  Tool tap(tap_in(space, {"--name", "tt"}));
  usleep(300'000);  // it finds the address taken
  ASSERT_FALSE(owner.detach());
  EXPECT_TRUE(tap.wait_for("tt is on " + bus + " as port tt, " + options.mac->to_string()))
      << tap.so_far().out << tap.so_far().err;
}

TEST_F(TapCommand, ADeviceOnWhichSomebodyListensInAlreadyIsAPortThatHearsAll) {
  const TestNamespace space;
  tap::TapOptions device = {};
  const tap::NetNamespace where = space.space();
  device.name = "lab0";
  device.where = &where;
  device.persist = true;
  {
    const auto former = tap::TapLink::open(device).value();
  }
  ASSERT_TRUE(tap::test::set_promiscuous(space.space(), "lab0", true));
  Tool tap(tap_in(space, {"--create", "--name", "lab0"}));
  wait_for_port("lab0");
  EXPECT_TRUE(becomes("\"promiscuous\": true"));
}

TEST_F(TapCommand, ABridgeGivesItsDeviceTheMtuOfTheBusThatItMakes) {
  const TestNamespace space;
  for (const bool bus_is_first : {false, true}) {
    const std::string path = bus + (bus_is_first ? "1" : "2");
    std::vector<std::string> links = {"tap:lab0", "bus:" + path};
    if (bus_is_first) std::ranges::reverse(links);
    Tool bridge({"nsenter", "--net=" + path_of(space), shmifctl_path(), "bridge", links[0],
                 links[1], "--create", "--mtu", "9000", "--port-name", "br"});
    ASSERT_EQ(run_tool({"wait", path, "--port", "br", "--timeout", "100"}).status, 0);
    EXPECT_EQ(space.netlink().interface("lab0").value().mtu, 9000U);
    bridge.signal(SIGTERM);
    EXPECT_EQ(bridge.finish().status, 0);
  }
}

TEST_F(TapCommand, TheDeviceIsLikeTheBusWhetherThatIsMadeOrThere) {
  const TestNamespace space;
  struct Case {
    std::vector<std::string> bus;
    std::vector<std::string> more;
    std::uint32_t mtu;
    bool offload;
  };
  const std::vector<Case> cases{{{"--mtu", "9000", "--size", "4M"}, {}, 9000, true},
                                {{"--mtu", "1400", "--size", "4M"}, {"--no-offload"}, 1400, false},
                                {{"--mtu", "1500", "--size", "256K"}, {}, 1500, false}};
  for (const bool made : {false, true}) {
    for (const Case& each : cases) {
      SCOPED_TRACE((made ? "made " : "there ") + each.bus[1] + ' ' + each.bus[3]);
      std::vector<std::string> options{"--name", "lab0"};
      options.insert(options.end(), each.more.begin(), each.more.end());
      std::vector<std::string> create{"create", bus};
      if (made) options.emplace_back("--create");
      std::vector<std::string>& maker = made ? options : create;
      maker.insert(maker.end(), each.bus.begin(), each.bus.end());
      if (!made) {
        ASSERT_EQ(run_tool(create).status, 0);
      }
      Tool tap(tap_in(space, options));
      wait_for_port("lab0");
      EXPECT_EQ(space.netlink().interface("lab0").value().mtu, each.mtu);
      const std::string features = run_inside(space, {"ethtool", "-k", "lab0"}).out;
      const std::string wanted =
          std::string("tcp-segmentation-offload: ") + (each.offload ? "on" : "off");
      EXPECT_NE(features.find(wanted), std::string::npos) << features;
      tap.signal(SIGTERM);
      EXPECT_EQ(tap.finish().status, 0);
      ASSERT_EQ(run_tool({"destroy", bus}).status, 0);
    }
  }
}

}  // namespace
}  // namespace shmif::test
