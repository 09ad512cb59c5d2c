// tap, bridge: what becomes of a port whose device or bus moves, goes down, or ends.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "shmif/port.hpp"
#include "tap/guest/address_claim.hpp"
#include "tap/host_mac.hpp"
#include "tap/netlink.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/tap/test_namespace.hpp"
#include "tests/tools/relay/tap_command.hpp"

namespace shmif::test {
namespace {

using tap::test::TestNamespace;

/// Writes over the last ring of a bus of 64 KiB.
void spoil_ring(const std::string& bus) {
  std::fstream ring(bus, std::ios::in | std::ios::out | std::ios::binary);
  ring.seekp(-static_cast<std::streamoff>(64U << 10U), std::ios::end);
  ring << std::string(64U << 10U, '\xff');
}

TEST_F(TapCommand, APortFollowsItsDeviceIntoOtherNamespaces) {
  const TestNamespace space;
  const TestNamespace first;
  const TestNamespace second;
  Tool tap(tap_in(space, {"--create", "--name", "lab0"}));
  wait_for_port("lab0");
  const std::array<const TestNamespace*, 4> way{&space, &first, &second, &space};
  for (std::size_t i = 1; i < way.size(); ++i) {
    const std::string mac = "02:00:00:00:00:0" + std::to_string(i);
    ASSERT_TRUE(way.at(i - 1)->netlink().move_to("lab0", way.at(i)->space()));
    EXPECT_TRUE(becomes("\"carrier\": false")) << "it arrives down";
    tap::Netlink there = way.at(i)->netlink();
    ASSERT_TRUE(there.set_mac("lab0", *MacAddress::parse(mac)));
    ASSERT_TRUE(there.set_up("lab0"));
    wait_for_port("lab0");
    EXPECT_TRUE(becomes(mac));
    const ToolResult ping = run_tool({"ping", bus, "--to", "lab0", "-c", "1", "--timeout", "100"});
    EXPECT_EQ(ping.status, 0) << ping.err;
  }
  tap.signal(SIGTERM);
  const ToolResult result = tap.finish();
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
}

TEST_F(TapCommand, ABridgeToADeviceThatIsDownHasNoCarrierUntilItIsUp) {
  const TestNamespace space;
  ASSERT_EQ(run_tool({"create", bus}).status, 0);
  ASSERT_TRUE(space.netlink().add_veth("v0", "v1"));
  ASSERT_TRUE(space.netlink().set_up("v1"));
  const Tool bridge(
      {"nsenter", "--net=" + path_of(space), shmifctl_path(), "bridge", "bus:" + bus, "packet:v0"});
  EXPECT_TRUE(becomes("\"carrier\": false"));
  ASSERT_TRUE(space.netlink().set_up("v0"));
  EXPECT_TRUE(becomes("\"carrier\": true"));
}

TEST_F(TapCommand, APortWhoseDeviceIsDownHasNoCarrierAndAnswersNoPing) {
  const TestNamespace space;
  Tool tap(tap_in(space, {"--create", "--name", "lab0"}));
  wait_for_port("lab0");
  const auto carrier_becomes = [&](const std::string& wanted) {
    for (int i = 0; i < 1000; ++i) {
      const std::string text = run_tool({"stat", bus, "--json"}).out;
      if (text.find("\"carrier\": " + wanted) != std::string::npos) return true;
      usleep(20'000);
    }
    return false;
  };
  const std::vector<std::string> ping = {"ping", bus, "--to", "lab0", "-c", "1", "--timeout"};
  const auto ping_within = [&](const char* seconds) {
    std::vector<std::string> words = ping;
    words.emplace_back(seconds);
    return run_tool(words);
  };
  EXPECT_EQ(ping_within("15").status, 0);
  ASSERT_TRUE(space.netlink().set_up("lab0", false));
  ASSERT_TRUE(carrier_becomes("false"));
  EXPECT_NE(run_tool({"stat", bus}).out.find("no-carrier"), std::string::npos);
  const ToolResult silent = ping_within("0.1");
  EXPECT_EQ(silent.status, 1) << silent.out;
  EXPECT_NE(silent.err.find("the network interface of its host is down"), std::string::npos)
      << silent.err;
  const ToolResult waited = run_tool({"wait", bus, "--port", "lab0", "--timeout", "0"});
  EXPECT_EQ(waited.status, 1);
  EXPECT_NE(waited.err.find("the network interface of its host is down"), std::string::npos)
      << waited.err;
  ASSERT_TRUE(space.netlink().set_up("lab0"));
  EXPECT_TRUE(carrier_becomes("true"));
  EXPECT_EQ(ping_within("15").status, 0);
}

TEST_F(TapCommand, FaultsOfEachWayHitWhatCrossesTheLineOfTheDevice) {
  const TestNamespace space;
  for (const auto& [faults, received] :
       {std::pair{"in:match='ether proto 0x88b5',drop=1", "\"answered\": 2"},
        {"out:loss=100%", "\"responders\": []"},
        {"none", "\"answered\": 3"}}) {
    SCOPED_TRACE(faults);
    Tool tap(tap_in(space, {"--create", "--name", "lab0", "--fault", faults}));
    wait_for_port("lab0");
    const ToolResult result = run_tool(
        {"ping", bus, "--to", "lab0", "-c", "3", "-i", "0.01", "--timeout", "1", "--json"});
    EXPECT_NE(result.out.find(received), std::string::npos) << result.out;
    tap.signal(SIGTERM);
    EXPECT_EQ(tap.finish().status, 0);
  }
  const ToolResult refused = run_program(tap_in(space, {"--fault", "los=1%"}));
  EXPECT_EQ(refused.status, 2) << refused.err;
  EXPECT_NE(refused.err.find("--fault: fault \"los=1%\""), std::string::npos) << refused.err;
}

TEST_F(TapCommand, ABridgeShowsThatItsDeviceIsDownAndCountsWhatThatDropped) {
  const TestNamespace space;
  for (const bool bus_is_first : {true, false}) {
    SCOPED_TRACE(bus_is_first ? "the bus first" : "the device first");
    std::vector<std::string> links = {"bus:" + bus, "tap:lab0"};
    if (!bus_is_first) std::ranges::reverse(links);
    Tool bridge({"nsenter", "--net=" + path_of(space), shmifctl_path(), "bridge", links[0],
                 links[1], "--create", "--port-name", "br"});
    wait_for_port("br");
    ASSERT_TRUE(space.netlink().set_up("lab0", false));
    EXPECT_TRUE(becomes("\"carrier\": false"));
    EXPECT_EQ(run_tool({"ping", bus, "-c", "2", "-i", "0.01", "--timeout", "0.5"}).status, 1);
    ASSERT_TRUE(space.netlink().set_up("lab0"));
    EXPECT_TRUE(becomes("\"carrier\": true"));
    bridge.signal(SIGTERM);
    const ToolResult result = bridge.finish();
    const std::string line = "bus:" + bus + " -> tap:lab0: 0 frames, 0 bytes, 0 lost, 2 dropped " +
                             "(2 while the interface was down) = 2 came\n";
    EXPECT_NE(result.out.find(line), std::string::npos) << result.out;
  }
}

/// A bridge from the bus to lab0, and two whose frames meet faults in both directions.
std::vector<std::vector<std::string>> bridges_of_lab0(const std::string& bus) {
  const std::string left = "bus:" + bus;
  const std::string right = "tap:lab0";
  return {
      {left, right}, {left, right, "--fault", "delay=1us"}, {right, left, "--fault", "delay=1us"}};
}

TEST_F(TapCommand, ABridgeFollowsItsDeviceIntoAnotherNamespaceAlsoWhereItsFramesMeetFaults) {
  ASSERT_EQ(run_tool({"create", bus, "--size", "64K"}).status, 0);
  for (const std::vector<std::string>& links : bridges_of_lab0(bus)) {
    SCOPED_TRACE(testing::PrintToString(links));
    const TestNamespace space;
    const TestNamespace other;
    Tool bridge(bridge_in(space, links));
    wait_for_port("br");
    ASSERT_TRUE(space.netlink().move_to("lab0", other.space()));
    EXPECT_TRUE(becomes("\"carrier\": false")) << "it arrives down";
    ASSERT_TRUE(other.netlink().set_up("lab0"));
    EXPECT_TRUE(becomes("\"carrier\": true"));
    ASSERT_TRUE(other.netlink().set_up("lab0", false));
    EXPECT_TRUE(becomes("\"carrier\": false"));
    bridge.signal(SIGTERM);
    EXPECT_EQ(bridge.finish().status, 0);
  }
}

TEST_F(TapCommand, ABridgesDeviceHasNoCarrierWhileItsBusIsCorruptAlsoWhereItsFramesMeetFaults) {
  ASSERT_EQ(run_tool({"create", bus, "--size", "64K"}).status, 0);
  for (const std::vector<std::string>& links : bridges_of_lab0(bus)) {
    SCOPED_TRACE(testing::PrintToString(links));
    const TestNamespace space;
    Tool bridge(bridge_in(space, links));
    wait_for_port("br");
    spoil_ring(bus);
    EXPECT_TRUE(bridge.wait_for("; the interface has no carrier until the bus is repaired"))
        << bridge.so_far().err;
    EXPECT_FALSE(space.netlink().interface("lab0").value().has_carrier());
    ASSERT_EQ(run_tool({"repair", bus}).status, 0);
    EXPECT_TRUE(bridge.wait_for("the bus " + bus + " works again, and the interface has carrier"))
        << bridge.so_far().err;
    EXPECT_TRUE(becomes("\"carrier\": true"));
    bridge.signal(SIGTERM);
    EXPECT_EQ(bridge.finish().status, 0);
  }
}

TEST_F(TapCommand, ANewDeviceOfABridgeHasTheAddressOfItsNameOnThatBusWhetherThatIsMadeOrThere) {
  const TestNamespace space;
  const std::string left = "bus:" + bus;
  const std::string right = "tap:lab0";
  using Links = std::vector<std::string>;
  for (const Links& links : {Links{left, right, "--create"}, Links{right, left, "--create"}}) {
    SCOPED_TRACE(testing::PrintToString(links));
    ASSERT_EQ(access(bus.c_str(), F_OK), -1);
    for (const bool is_there : {false, true}) {
      Tool bridge(bridge_in(space, links));
      wait_for_port("br");
      EXPECT_EQ(space.netlink().interface("lab0").value().mac,
                tap::device_mac(Bus::open(bus).value().info(), "lab0"))
          << is_there;
      bridge.signal(SIGTERM);
      EXPECT_EQ(bridge.finish().status, 0);
    }
    ASSERT_EQ(run_tool({"destroy", bus}).status, 0);
  }
}

TEST_F(TapCommand, AnnouncesItsAddressAndNamesAnotherHostThatHasItButNoInterfaceOfItsOwn) {
  const TestNamespace space;
  Bus::create(bus, {.ring_bytes = 64U << 10U}).value();
  Port ear({.name = "ear"});
  ear.attach(bus).value();
  ASSERT_FALSE(ear.up());
  ASSERT_EQ(run_inside(space, {"ip", "link", "add", "v0", "address", "02:00:00:00:00:77", "type",
                               "veth", "peer", "name", "v1"})
                .status,
            0);
  Tool tap(tap_in(space, {"--name", "lab0", "--ip", "198.18.0.1/24"}));
  ASSERT_TRUE(tap.wait_for("lab0 is on " + bus)) << tap.so_far().err;
  std::optional<MacAddress> owner;
  const std::vector<tap::Cidr> addresses{tap::Cidr::parse("198.18.0.1/24").value()};
  tap::AddressClaim claim(addresses, [&](const tap::IpAddress&, MacAddress mac) {
    owner = mac;
    return true;
  });
  EXPECT_TRUE(eventually([&] {
    FrameBatch batch;
    static_cast<void>(ear.receive(batch));
    for (const FrameView& frame : batch.frames()) claim.look(frame, ear.mac());
    return owner.has_value();
  }));
  EXPECT_EQ(owner, space.netlink().interface("lab0").value().mac);
  for (const char* const mac : {"02:00:00:00:00:77", "02:00:00:00:00:78"}) {
    Port other({.name = "other", .mac = MacAddress::parse(mac)});
    other.attach(bus).value();
    ASSERT_FALSE(other.up());
    tap::AddressClaim(addresses, {}).announce(other);
    if (mac[16] != '8') continue;
    EXPECT_TRUE(tap.wait_for("tap: another host on " + bus +
                             " has the address 198.18.0.1, too: " + mac + " (port \"other\"); "))
        << tap.so_far().err;
  }
  tap.signal(SIGTERM);
  const std::string said = tap.finish().err;
  EXPECT_EQ(said.find(":77"), std::string::npos) << said;
}

TEST_F(TapCommand, ADeviceHasTheAddressOfItsPortsNameOnThatBus) {
  const TestNamespace space;
  Bus::create(bus, {.ring_bytes = 64U << 10U}).value();
  const MacAddress mac = tap::host_mac(Bus::open(bus).value().info(), "lab0");
  Tool tap(tap_in(space, {"--name", "lab0"}));
  EXPECT_TRUE(tap.wait_for("lab0 is on " + bus + " as port lab0, " + mac.to_string() + '\n'))
      << tap.so_far().out;
  EXPECT_EQ(space.netlink().interface("lab0").value().mac, mac);
}

TEST_F(TapCommand, ABridgeLeavesNoWorkToABusThatIsTooSmallForSuperFrames) {
  const TestNamespace space;
  for (const char* const size : {"64K", "4M"}) {
    ASSERT_EQ(run_tool({"create", bus, "--size", size}).status, 0);
    Tool tool({"nsenter", "--net=" + path_of(space), shmifctl_path(), "bridge", "bus:" + bus,
               "tap:lab0", "--port-name", "lab"});
    wait_for_port("lab");
    const std::string features = run_inside(space, {"ethtool", "-k", "lab0"}).out;
    EXPECT_NE(
        features.find(std::string("tcp-segmentation-offload: ") + (size[0] == '6' ? "off" : "on")),
        std::string::npos)
        << features;
    tool.signal(SIGTERM);
    EXPECT_EQ(tool.finish().status, 0);
    ASSERT_EQ(run_tool({"destroy", bus}).status, 0);
  }
}

TEST_F(TapCommand, ASuperFrameOfTheBusComesToItsDeviceAsItIsOrInPieces) {
  for (const bool whole : {true, false}) {
    const TestNamespace space;
    const std::string own = bus + (whole ? "-whole" : "-pieces");
    ASSERT_EQ(run_tool({"create", own, "--size", "4M"}).status, 0);
    std::vector<std::string> words = {shmifctl_path(), "tap",    own,   "--netns",
                                      path_of(space),  "--name", "lab0"};
    if (!whole) words.emplace_back("--no-offload");
    Tool tap(words);
    ASSERT_TRUE(tap.wait_for("lab0 is on " + own)) << tap.so_far().err;
    Port port({.name = "far"});
    port.attach(own).value();
    ASSERT_FALSE(port.up());
    std::vector<std::byte> bytes = build({}, 14'000, 1);
    std::fill_n(bytes.begin(), 6, std::byte{0xff});
    FrameView frame(bytes.data(), bytes.size());
    frame.offload = header_for({}, 1'400);
    ASSERT_EQ(port.send({&frame, 1}).taken, 1U);
    nlohmann::json rx;
    EXPECT_TRUE(eventually([&] {
      const std::string text = run_inside(space, {"ip", "-s", "-j", "link", "show", "lab0"}).out;
      rx = nlohmann::json::parse(text)[0]["stats64"]["rx"];
      return rx["bytes"] >= bytes.size() - 14;
    })) << rx;
    EXPECT_EQ(rx["packets"], whole ? 1 : 10);
    tap.signal(SIGTERM);
    EXPECT_EQ(tap.finish().status, 0);
  }
}

TEST_F(TapCommand, MakesNoDeviceOfTheLoopback) {
  const TestNamespace space;
  const ToolResult refused = run_program(tap_in(space, {"--create", "--name", "lo"}));
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(refused.err,
            "shmifctl: cannot make the TAP device lo: the loopback interface has this name (--name "
            "needs the name of a new interface, or of a TAP device that is there)\n");
  EXPECT_FALSE(std::filesystem::exists(bus)) << "nothing is left behind";
}

TEST_F(TapCommand, EndsWithTheProcessWhoseNamespaceItWasGiven) {
  const TestNamespace space;  // which goes on: the process is what counts
  Tool container({"nsenter", "--net=" + path_of(space), "sh", "-c", "echo inside; exec sleep 600"});
  ASSERT_TRUE(container.wait_for("inside"));
  const std::string pid = std::to_string(container.pid());
  Tool tap({shmifctl_path(), "tap", bus, "--create", "--netns", pid, "--name", "lab0"});
  wait_for_port("lab0");
  container.signal(SIGKILL);
  const ToolResult result = tap.finish();
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("process " + pid + " has ended: lab0 leaves " + bus), std::string::npos)
      << result.out;
  EXPECT_FALSE(space.netlink().interface("lab0"));
  EXPECT_EQ(run_tool({"destroy", bus}).status, 0) << "the port is gone, too";
}

TEST_F(TapCommand, EndsWhenTheNamespaceHasNoNameAndNoProcessAnyMore) {
  std::optional<TestNamespace> space(std::in_place);
  Tool inside({"nsenter", "--net=" + path_of(*space), "sh", "-c", "echo inside; exec sleep 600"});
  ASSERT_TRUE(inside.wait_for("inside"));
  Tool tap(tap_in(*space, {"--create", "--name", "lab0"}));
  wait_for_port("lab0");
  const std::string path = path_of(*space);
  space.reset();
  ASSERT_NE(access(path.c_str(), F_OK), 0);
  inside.signal(SIGKILL);
  const ToolResult result = tap.finish();
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("network namespace " + path + " is gone"), std::string::npos)
      << result.out;
}

TEST_F(TapCommand, ADeviceThatIsDeletedEndsItWithAnError) {
  const TestNamespace space;
  Tool tap(tap_in(space, {"--create", "--name", "lab0"}));
  wait_for_port("lab0");
  ASSERT_TRUE(space.netlink().remove("lab0"));
  const ToolResult result = tap.finish();
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("lab0"), std::string::npos) << result.err;
}

TEST_F(TapCommand, SaysThatItsBusIsCorruptOrRemovedAndHasCarrierAgainWhenItIsRepaired) {
  const TestNamespace space;
  Tool tap(tap_in(space, {"--create", "--size", "64K", "--name", "lab0"}));
  wait_for_port("lab0");
  for (int round = 0; round < 2; ++round) {
    spoil_ring(bus);
    ASSERT_TRUE(becomes("\"carrier\": false")) << tap.so_far().err;
    ASSERT_EQ(run_tool({"repair", bus}).status, 0);
    ASSERT_TRUE(becomes("\"carrier\": true")) << tap.so_far().err;
  }
  std::filesystem::remove(bus);
  EXPECT_TRUE(tap.wait_for("the bus " + bus + " was removed; port lab0 still works"));
  tap.signal(SIGTERM);
  const ToolResult end = tap.finish();
  EXPECT_EQ(end.status, 0) << end.err;
  const auto times = [&](const std::string& what) { return times_in(end.err, what); };
  EXPECT_EQ(times("cannot receive from the bus " + bus + ": "), 2U) << end.err;
  EXPECT_EQ(
      times("; the interface has no carrier until the bus is repaired (run 'shmifctl repair')\n"),
      2U)
      << end.err;
  EXPECT_EQ(times("the bus " + bus + " works again, and the interface has carrier\n"), 2U)
      << end.err;
  EXPECT_EQ(count_of_lines(end.err), 5) << end.err;
}

/// The default routes of both families in `space`, one a line.
std::string default_routes_of(const TestNamespace& space) {
  const tap::Netlink netlink = space.netlink();
  std::string all;
  for (const int family : {AF_INET, AF_INET6}) {
    if (const auto route = netlink.default_route(family))
      all += route->gateway.to_string() + " on " + route->interface + '\n';
  }
  return all;
}

TEST_F(TapCommand, LeadsToItsGatewaysAlsoAfterItWasDownWhetherTheBusIsMadeOrThere) {
  const std::string both = "198.18.0.254 on lab0\nfd00::fe on lab0\n";
  for (const char* const bus_is : {"made", "there"}) {
    SCOPED_TRACE(bus_is);
    const TestNamespace space;
    Tool tap(tap_in(space, {"--create", "--name", "lab0", "--ip", "198.18.0.1/24", "--ip",
                            "fd00::1/64", "--gateway", "198.18.0.254", "--gateway", "fd00::fe"}));
    ASSERT_TRUE(tap.wait_for("lab0 is on " + bus)) << tap.so_far().err;
    EXPECT_EQ(default_routes_of(space), both);
    ASSERT_TRUE(space.netlink().set_up("lab0", false));
    EXPECT_EQ(default_routes_of(space), "");
    ASSERT_TRUE(space.netlink().set_up("lab0"));
    EXPECT_TRUE(eventually([&] { return default_routes_of(space) == both; }))
        << default_routes_of(space);
    tap.signal(SIGTERM);
    EXPECT_EQ(tap.finish().status, 0);
  }
}

TEST_F(TapCommand, ADeviceThatExistedKeepsOnlyTheDefaultRoutesThatItHad) {
  const std::string before = "198.18.8.9 on tt\n";
  const TestNamespace space;
  tap::Netlink netlink = space.netlink();
  ASSERT_EQ(run_inside(space, {"ip", "tuntap", "add", "tt", "mode", "tap"}).status, 0);
  for (const char* const each : {"198.18.8.1/24", "fd00::8/64"})
    netlink.add_address("tt", *tap::Cidr::parse(each)).value();
  netlink.set_up("tt").value();
  netlink.add_default_route("tt", *tap::IpAddress::parse("198.18.8.9")).value();
  for (const int number : {SIGTERM, SIGKILL}) {
    Tool tap(tap_in(
        space, {"--create", "--name", "tt", "--gateway", "198.18.8.9", "--gateway", "fd00::fe"}));
    ASSERT_TRUE(tap.wait_for("tt is on " + bus)) << tap.so_far().err;
    EXPECT_EQ(default_routes_of(space), before + "fd00::fe on tt\n");
    tap.signal(number);
    tap.finish();
    EXPECT_TRUE(eventually([&] { return default_routes_of(space) == before; }))
        << default_routes_of(space);
  }
  netlink.remove_default_route("tt", *tap::IpAddress::parse("198.18.8.9")).value();
  Tool tap(tap_in(space, {"--name", "tt", "--gateway", "198.18.8.9", "--gateway", "fd00::fe"}));
  ASSERT_TRUE(tap.wait_for("tt is on " + bus)) << tap.so_far().err;
  EXPECT_EQ(default_routes_of(space), before + "fd00::fe on tt\n");
  tap.signal(SIGTERM);
  tap.finish();
  EXPECT_TRUE(eventually([&] { return default_routes_of(space).empty(); }))
      << default_routes_of(space);
}

TEST_F(TapCommand, RefusesAnotherGatewayThanTheOneThatItsDeviceHas) {
  const TestNamespace space;
  tap::Netlink netlink = space.netlink();
  ASSERT_EQ(run_inside(space, {"ip", "tuntap", "add", "tt", "mode", "tap"}).status, 0);
  netlink.add_address("tt", *tap::Cidr::parse("198.18.8.1/24")).value();
  netlink.set_up("tt").value();
  netlink.add_default_route("tt", *tap::IpAddress::parse("198.18.8.9")).value();
  const ToolResult refused =
      run_program(tap_in(space, {"--create", "--name", "tt", "--gateway", "198.18.8.10"}));
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(refused.err,
            "shmifctl: cannot add a default route through gateway 198.18.8.10: the network "
            "namespace has one, through 198.18.8.9 on interface tt (remove it, or leave --gateway "
            "out)\n");
  EXPECT_FALSE(std::filesystem::exists(bus));
}

TEST_F(TapCommand, RefusesAGatewayThatCannotBeBeforeItMakesABusOrADevice) {
  const TestNamespace space;
  tap::Netlink netlink = space.netlink();
  netlink.add_veth("v0", "v1").value();
  netlink.add_address("v0", *tap::Cidr::parse("198.18.8.1/24")).value();
  netlink.set_up("v0").value();
  netlink.add_default_route("v0", *tap::IpAddress::parse("198.18.8.9")).value();
  struct Case {
    std::vector<std::string> words;
    int status;
    std::string why;
  };
  for (const Case& each :
       std::vector<Case>{{{"--gateway", "nowhere"}, 2, "--gateway: "},
                         {{"--ip", "fd00::1/64", "--gateway", "fd00::2", "--gateway", "fd00::3"},
                          2,
                          "--gateway fd00::3: fd00::2 is the gateway already"},
                         {{"--ip", "198.18.0.1/24", "--gateway", "198.18.1.254"},
                          2,
                          "--gateway 198.18.1.254 is not in any network of the device"},
                         {{"--ip", "198.18.0.1/24", "--gateway", "198.18.0.254"},
                          1,
                          "the network namespace has one, through 198.18.8.9 on interface v0"}}) {
    std::vector<std::string> words{"--create", "--name", "lab0"};
    words.insert(words.end(), each.words.begin(), each.words.end());
    const ToolResult refused = run_program(tap_in(space, words));
    EXPECT_EQ(refused.status, each.status) << refused.err;
    EXPECT_NE(refused.err.find(each.why), std::string::npos) << refused.err;
    EXPECT_FALSE(netlink.interface("lab0"));
    EXPECT_FALSE(std::filesystem::exists(bus));
  }
}

}  // namespace
}  // namespace shmif::test
