// tap: devices of other network namespaces on one bus, with unmodified programs talking over it.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "tap/device_settings.hpp"
#include "tap/host_mac.hpp"
#include "tap/netlink.hpp"
#include "tap/packet_link.hpp"
#include "tests/tools/relay/tap_command.hpp"

namespace shmif::test {
namespace {

using tap::test::TestNamespace;

TEST_F(TapCommand, TwoNamespacesPingEachOtherOverIpv4AndIpv6) {
  const TestNamespace left, right;
  Tool a(tap_in(left, {"--create", "--name", "lab0", "--ip", "198.18.0.1/24", "--ip", "fd00::1/64",
                       "--port-name", "a"}));
  wait_for_port("a");
  Tool b(tap_in(right, {"--ip", "198.18.0.2/24", "--ip", "fd00::2/64", "--port-name", "b"}));
  wait_for_port("b");
  const auto reaches = [&](const char* address) {
    const ToolResult ping = run_inside(left, {"ping", "-c", "1", "-W", "60", address});
    EXPECT_EQ(ping.status, 0) << ping.out << ping.err;
  };
  reaches("198.18.0.2");
  reaches("fd00::2");
  const ToolResult answered = run_tool({"ping", bus, "--to", "b", "-c", "1", "--timeout", "100"});
  EXPECT_EQ(answered.status, 0) << answered.err;
  // Another address than that of the port, as of a machine that the device is bridged to.
  left.netlink().set_mac("lab0", *MacAddress::parse("02:00:00:00:00:77")).value();
  reaches("198.18.0.2");
}

// Nobody there notices that the devices have one name.
TEST_F(TapCommand, DevicesOfOneNameReachEachOtherOverABusOfNetbsdsFormat) {
  ASSERT_EQ(run_tool({"create", bus, "--format", "netbsd"}).status, 0);
  const TestNamespace left;
  const TestNamespace right;
  Tool a(tap_in(left, {"--name", "lab0", "--ip", "198.18.0.1/24"}));
  Tool b(tap_in(right, {"--name", "lab0", "--ip", "198.18.0.2/24"}));
  for (Tool* const each : {&a, &b}) {
    ASSERT_TRUE(each->wait_for("lab0 is on " + bus));
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
  end(a);
}

/// The device has the address of its port's name on that bus.
TEST_F(TapCommand, SigtermAndSigintEndItWithZeroAndTakeTheDeviceAway) {
  for (const int number : {SIGTERM, SIGINT}) {
    const TestNamespace space;
    Bus::create(bus, {.ring_bytes = 64U << 10U}).value();
    const MacAddress mac = tap::host_mac(Bus::open(bus).value().info(), "lab0");
    Tool tap(tap_in(space, {"--create", "--name", "lab0"}));
    wait_for_port("lab0");
    EXPECT_EQ(space.netlink().interface("lab0").value().mac, mac);
    tap.signal(number);
    const ToolResult result = tap.finish();
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err, "");
    EXPECT_EQ(result.out, "lab0 is on " + bus + " as port lab0, " + mac.to_string() + '\n');
    EXPECT_FALSE(space.netlink().interface("lab0"));
    EXPECT_EQ(run_tool({"destroy", bus}).status, 0) << "the port is gone, too";
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

/// And is left with the offloads of a new one.
TEST_F(TapCommand, APersistentDeviceStaysAndIsUsedAgainWithItsAddressOrTheOneAskedFor) {
  const TestNamespace space;
  std::string before;
  for (const std::string asked : {"", "", "02:00:00:00:00:07", "02:00:00:00:00:08"}) {
    Words words{"--create", "--name", "tt", "--persist"};
    if (!asked.empty()) words.insert(words.end(), {"--mac", asked});
    Tool tap(tap_in(space, words));
    wait_for_port("tt");
    const std::string mac = space.netlink().interface("tt").value().mac.to_string();
    if (!before.empty()) {
      EXPECT_EQ(mac, asked.empty() ? before : asked);
    }
    before = mac;
    EXPECT_TRUE(contains(run_tool({"stat", bus, "--json"}).out, mac))
        << "the port has the device's address";
    EXPECT_TRUE(contains(all_settings_of(space), "+tx-tcp-segmentation"));
    end(tap);
    EXPECT_FALSE(contains(all_settings_of(space), "+tx-tcp-segmentation"));
  }
  EXPECT_TRUE(space.netlink().interface("tt"));
}

/// Starts a tap of "tt" on `bus`, and kills it and its keeper, which has its name soon after it was
/// started, and the device until it ends.
void kill_both(const Words& command, const std::string& bus) {
  Tool killed(command);
  ASSERT_TRUE(killed.wait_for("tt is on " + bus));
  pid_t keeper = -1;
  ASSERT_TRUE(eventually([&] { return (keeper = keeper_of(bus)) > 1; }));
  ::kill(keeper, SIGKILL);
  killed.signal(SIGKILL);
  killed.finish();
  ASSERT_TRUE(eventually([&] { return keeper_of(bus) < 0; }));
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
  const Words as_tap =
      tap_in(space, {"--name", "tt", "--ip", "198.18.0.9/24", "--mac", "02:00:00:00:00:55"});
  const Words as_bridge = bridge_in(space, {"tap:tt", "bus:" + bus});
  for (const auto& command : {as_tap, as_bridge}) {
    for (const int number : {SIGTERM, SIGKILL}) {
      Tool tool(command);
      wait_for_port(command == as_tap ? "tt" : "br");
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
  kill_both(as_tap, bus);
  EXPECT_NE(all_settings_of(space), before);
  Tool next(tap_in(space, {"--name", "tt"}));
  EXPECT_TRUE(next.wait_for("tt is on " + bus + " as port tt, 02:00:00:00:00:99\n"));
  end(next);
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
  add_tt(space);
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
    kill_both(tap_in(space, {"--create", "--name", "tt", "--mac", given.to_string()}), bus);
    ASSERT_EQ(::chmod(state.c_str(), 0600 | each.more), 0) << state;
    ASSERT_EQ(::chown(state.c_str(), each.owner, static_cast<gid_t>(-1)), 0) << state;
    Tool next(tap_in(space, {"--name", "tt"}));
    ASSERT_TRUE(next.wait_for("tt is on " + bus));
    end(next);
    EXPECT_EQ(space.netlink().interface("tt")->mac, each.is_believed ? own : given);
  }
}

TEST_F(TapCommand, OfADeviceThatWasDeletedNoFileIsLeft) {
  const TestNamespace space;
  const std::string files = state_files_of(space);
  if (files.empty()) GTEST_SKIP() << "this kernel has no numbers for namespaces";
  for (const bool killed : {false, true}) {
    add_tt(space);
    const std::string file = files + std::to_string(space.netlink().interface("tt")->index);
    const Words command = tap_in(space, {"--create", "--name", "tt"});
    if (killed) {
      kill_both(command, bus);
      ASSERT_TRUE(space.netlink().remove("tt"));
      EXPECT_EQ(::access(file.c_str(), F_OK), 0) << file;
      // The next command in that namespace removes it.
      ASSERT_EQ(run_inside(space, {"ip", "tuntap", "add", "next", "mode", "tap"}).status, 0);
      Tool next(tap_in(space, {"--name", "next"}));
      wait_for_port("next");
      EXPECT_NE(::access(file.c_str(), F_OK), 0) << file;
    } else {
      Tool tool(command);
      wait_for_port("tt");
      EXPECT_EQ(::access(file.c_str(), F_OK), 0) << file;
      ASSERT_TRUE(space.netlink().remove("tt"));
      const ToolResult ended = tool.finish();
      EXPECT_EQ(ended.status, 1);
      EXPECT_TRUE(contains(ended.err, "tt"));
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
  EXPECT_TRUE(
      contains(run_inside(space, {"ip", "addr", "show", "dev", "lab0"}).out, "198.18.0.1/24"));
  EXPECT_TRUE(other.netlink().interface("lab0")) << "it stays where it is";
}

TEST_F(TapCommand, ASecondOneIsToldWhoHasItsDeviceOrNameAndTakesTheNextFreeNameIfItGaveNone) {
  const TestNamespace left, right;
  Tool a(tap_in(left, {"--create", "--name", "eth0"}));
  wait_for_port("eth0");
  Tool b(tap_in(right, {"--name", "eth0"}));
  EXPECT_TRUE(b.wait_for("as port port0"));
  const ToolResult refused = run_program(tap_in(right, {"--name", "eth1", "--port-name", "eth0"}));
  EXPECT_EQ(refused.status, 1);
  EXPECT_TRUE(contains(refused.err, std::to_string(a.pid()))) << "names the process that has it";
  EXPECT_FALSE(right.netlink().interface("eth1"));
  const ToolResult same = run_program(tap_in(left, {"--name", "eth0"}));
  EXPECT_EQ(same.status, 1);
  EXPECT_TRUE(contains(same.err, "process " + std::to_string(a.pid()) + " has attached it"));
  EXPECT_TRUE(contains(same.err, "another --name"));
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

TEST_F(TapCommand, HearsWhatIsForOthersWhileSomebodyListensInOnTheDeviceOrThatWasAskedFor) {
  const TestNamespace space;
  add_tt(space);
  const auto listens_in = [&](bool on) {
    ASSERT_TRUE(tap::test::set_promiscuous(space.space(), "tt", on));
  };
  const std::string all = "\"promiscuous\": true", own = "\"promiscuous\": false";
  listens_in(true);  // already at its start
  {
    Tool tap(tap_in(space, {"--create", "--name", "tt"}));
    wait_for_port("tt");
    EXPECT_TRUE(becomes(all));
    listens_in(false);
    EXPECT_TRUE(becomes(own));
    listens_in(true);
    EXPECT_TRUE(becomes(all));
    listens_in(false);
    EXPECT_TRUE(becomes(own));
    end(tap);
  }
  Tool tap(tap_in(space, {"--name", "tt", "--promisc"}));
  wait_for_port("tt");
  // A change of the device, whatever it is, changes nothing about that.
  for (const bool up : {false, true}) {
    ASSERT_TRUE(space.netlink().set_up("tt", up));
    ASSERT_TRUE(becomes(std::string("\"carrier\": ") + (up ? "true" : "false")));
    EXPECT_TRUE(becomes(all));
  }
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
  EXPECT_TRUE(contains(result.out, "tap0 is on"));
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
  EXPECT_TRUE(becomes("\"too_long_frames\": 2"));
  tap.signal(SIGTERM);
  const std::string said = tap.finish().err;
  for (const std::string& part :
       {std::string("a frame of 4014 bytes from tap:lab0 (MTU 9000)"), bus + " (MTU 1500)"})
    EXPECT_TRUE(contains(said, part));
  EXPECT_EQ(count_of_lines(said), 1) << said;
}

/// A device that stayed waits for its address, as after a `tap` that was killed a moment ago.
TEST_F(TapCommand, WaitsForTheNameOrTheAddressThatItHasUntilTheirOwnerHasGone) {
  Bus::create(bus, {}).value();
  const TestNamespace space;
  add_tt(space);
  const MacAddress mac = space.netlink().interface("tt").value().mac;
  for (const bool by_name : {true, false}) {
    Port owner(by_name ? PortOptions{.name = "given"} : PortOptions{.mac = mac});
    ASSERT_TRUE(owner.attach(bus));
    Tool tap(by_name ? tap_in(space, {"--name", "lab0", "--port-name", "given"})
                     : tap_in(space, {"--name", "tt"}));
    usleep(300'000);  // it finds it taken
    ASSERT_FALSE(owner.detach());
    EXPECT_TRUE(tap.wait_for(by_name ? "as port given" : "as port tt, " + mac.to_string()));
  }
}

TEST_F(TapCommand, TheDeviceIsLikeTheBusWhetherThatIsMadeOrThere) {
  const TestNamespace space;
  struct Case {
    Words bus;
    Words more;
    std::uint32_t mtu;
    bool offload;
  };
  const std::vector<Case> cases{{{"--mtu", "9000", "--size", "4M"}, {}, 9000, true},
                                {{"--mtu", "1400", "--size", "4M"}, {"--no-offload"}, 1400, false},
                                {{"--mtu", "1500", "--size", "256K"}, {}, 1500, false}};
  for (const bool made : {false, true}) {
    for (const Case& each : cases) {
      SCOPED_TRACE((made ? "made " : "there ") + each.bus[1] + ' ' + each.bus[3]);
      Words options = Words{"--name", "lab0"} + each.more;
      if (made) {
        options = options + Words{"--create"} + each.bus;
      } else {
        ASSERT_EQ(run_tool(Words{"create", bus} + each.bus).status, 0);
      }
      Tool tap(tap_in(space, options));
      wait_for_port("lab0");
      EXPECT_EQ(space.netlink().interface("lab0").value().mtu, each.mtu);
      EXPECT_TRUE(contains(features_of_lab0(space), std::string("tcp-segmentation-offload: ") +
                                                        (each.offload ? "on" : "off")));
      end(tap);
      ASSERT_EQ(run_tool({"destroy", bus}).status, 0);
    }
  }
}

/// As those of tap are: the MTU, the address of its name on that bus, and work that a bus with room
/// for it takes.
TEST_F(TapCommand, ADeviceOfABridgeIsLikeTheBusWhetherThatIsMadeOrThere) {
  const TestNamespace space;
  const std::string left = "bus:" + bus, right = "tap:lab0";
  for (const Words& links : {Words{left, right}, Words{right, left}}) {
    for (const auto& [size, mtu, offload] :
         {std::tuple{"64K", "1400", "off"}, {"4M", "9000", "on"}}) {
      for (const bool is_there : {false, true}) {
        SCOPED_TRACE(links[0] + size + (is_there ? " there" : " made"));
        Tool bridge(bridge_in(
            space, links + (is_there ? Words{} : Words{"--create", "--mtu", mtu, "--size", size})));
        wait_for_port("br");
        const tap::Interface device = space.netlink().interface("lab0").value();
        EXPECT_EQ(std::to_string(device.mtu), mtu);
        EXPECT_EQ(device.mac, tap::device_mac(Bus::open(bus).value().info(), "lab0"));
        EXPECT_TRUE(
            contains(features_of_lab0(space), std::string("tcp-segmentation-offload: ") + offload));
        end(bridge);
      }
      ASSERT_EQ(run_tool({"destroy", bus}).status, 0);
    }
  }
}

}  // namespace
}  // namespace shmif::test
