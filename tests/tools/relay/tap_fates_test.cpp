// tap, bridge: what becomes of a port whose device or bus moves, goes down, or ends, and where its
// routes lead.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "tap/guest/neighbours.hpp"
#include "tap/netlink.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/tools/relay/tap_command.hpp"

namespace shmif::test {
namespace {

using tap::test::TestNamespace;

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

TEST_F(TapCommand, APortWhoseDeviceIsDownHasNoCarrierAndAnswersNoPing) {
  const TestNamespace space;
  Tool tap(tap_in(space, {"--create", "--name", "lab0"}));
  wait_for_port("lab0");
  const auto ping_within = [&](const char* seconds) {
    return run_tool({"ping", bus, "--to", "lab0", "-c", "1", "--timeout", seconds});
  };
  EXPECT_EQ(ping_within("15").status, 0);
  ASSERT_TRUE(space.netlink().set_up("lab0", false));
  ASSERT_TRUE(becomes("\"carrier\": false"));
  EXPECT_TRUE(contains(run_tool({"stat", bus}).out, "no-carrier"));
  for (const ToolResult& silent :
       {ping_within("0.1"), run_tool({"wait", bus, "--port", "lab0", "--timeout", "0"})}) {
    EXPECT_EQ(silent.status, 1) << silent.out;
    EXPECT_TRUE(contains(silent.err, "interface of its host is down"));
  }
  ASSERT_TRUE(space.netlink().set_up("lab0"));
  EXPECT_TRUE(becomes("\"carrier\": true"));
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
    EXPECT_TRUE(contains(result.out, received));
    end(tap);
  }
}

TEST_F(TapCommand, ABridgeShowsThatItsDeviceIsDownAndCountsWhatThatDropped) {
  const TestNamespace space;
  for (const bool bus_is_first : {true, false}) {
    SCOPED_TRACE(bus_is_first ? "the bus first" : "the device first");
    Words links = {"bus:" + bus, "tap:lab0"};
    if (!bus_is_first) std::ranges::reverse(links);
    Tool bridge(bridge_in(space, links + Words{"--create"}));
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
    EXPECT_TRUE(contains(result.out, line));
  }
}

/// Also where its frames meet faults in both directions.
TEST_F(TapCommand, ABridgeFollowsItsDeviceWhichHasNoCarrierWhileTheBusIsCorrupt) {
  Bus::create(bus, {.ring_bytes = 64U << 10U}).value();
  const std::string left = "bus:" + bus, right = "tap:lab0";
  for (const Words& links : {Words{left, right}, Words{left, right, "--fault", "delay=1us"},
                             Words{right, left, "--fault", "delay=1us"}}) {
    SCOPED_TRACE(testing::PrintToString(links));
    const TestNamespace space, other;
    Tool bridge(bridge_in(space, links));
    wait_for_port("br");
    spoil_ring(bus);
    EXPECT_TRUE(bridge.wait_for("the interface has no carrier until the bus is repaired"));
    EXPECT_FALSE(space.netlink().interface("lab0").value().has_carrier());
    ASSERT_EQ(run_tool({"repair", bus}).status, 0);
    EXPECT_TRUE(bridge.wait_for("the bus " + bus + " works again, and the interface has carrier"));
    EXPECT_TRUE(becomes("\"carrier\": true"));
    ASSERT_TRUE(space.netlink().move_to("lab0", other.space()));
    EXPECT_TRUE(becomes("\"carrier\": false")) << "it arrives down";
    ASSERT_TRUE(other.netlink().set_up("lab0"));
    EXPECT_TRUE(becomes("\"carrier\": true"));
    ASSERT_TRUE(other.netlink().set_up("lab0", false));
    EXPECT_TRUE(becomes("\"carrier\": false"));
    end(bridge);
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
  ASSERT_TRUE(tap.wait_for("lab0 is on " + bus));
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
                             " has the address 198.18.0.1, too: " + mac + " (port \"other\"); "));
  }
  tap.signal(SIGTERM);
  const std::string said = tap.finish().err;
  EXPECT_FALSE(contains(said, ":77"));
}

TEST_F(TapCommand, ASuperFrameOfTheBusComesToItsDeviceAsItIsOrInPieces) {
  for (const bool whole : {true, false}) {
    const TestNamespace space;
    const std::string own = bus + (whole ? "-whole" : "-pieces");
    ASSERT_EQ(run_tool({"create", own, "--size", "4M"}).status, 0);
    Words words = {shmifctl_path(), "tap", own, "--netns", path_of(space), "--name", "lab0"};
    if (!whole) words.emplace_back("--no-offload");
    Tool tap(words);
    ASSERT_TRUE(tap.wait_for("lab0 is on " + own));
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
    end(tap);
  }
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
  EXPECT_TRUE(contains(result.out, "process " + pid + " has ended: lab0 leaves " + bus));
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
  EXPECT_TRUE(contains(result.out, "network namespace " + path + " is gone"));
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
  end(tap);
  const std::string said = tap.so_far().err;
  EXPECT_EQ(times_in(said, "cannot receive from the bus " + bus + ": "), 2U) << said;
  EXPECT_EQ(times_in(said, "no carrier until the bus is repaired (run 'shmifctl repair')"), 2U)
      << said;
  EXPECT_EQ(times_in(said, "the bus " + bus + " works again, and the interface has carrier"), 2U)
      << said;
  EXPECT_EQ(count_of_lines(said), 5) << said;
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
  const auto addresses_of = [](const TestNamespace& space) {
    return run_inside(space, {"ip", "addr", "show", "dev", "lab0"}).out;
  };
  const std::string both = "198.18.0.254 on lab0\nfd00::fe on lab0\n";
  for (const char* const bus_is : {"made", "there"}) {
    SCOPED_TRACE(bus_is);
    const TestNamespace space;
    Tool tap(tap_in(space, {"--create", "--name", "lab0", "--ip", "198.18.0.1/24", "--ip",
                            "fd00::1/64", "--gateway", "198.18.0.254", "--gateway", "fd00::fe"}));
    ASSERT_TRUE(tap.wait_for("lab0 is on " + bus));
    EXPECT_EQ(default_routes_of(space), both);
    ASSERT_TRUE(space.netlink().set_up("lab0", false));
    EXPECT_EQ(default_routes_of(space), "");
    EXPECT_FALSE(contains(addresses_of(space), "fd00::1/64"));
    ASSERT_TRUE(space.netlink().set_up("lab0"));
    EXPECT_TRUE(eventually([&] { return default_routes_of(space) == both; }))
        << default_routes_of(space);
    EXPECT_TRUE(contains(addresses_of(space), "fd00::1/64"));
    end(tap);
  }
}

TEST_F(TapCommand, ADeviceThatExistedKeepsOnlyTheDefaultRoutesThatItHad) {
  const std::string before = "198.18.8.9 on tt\n";
  const TestNamespace space;
  tap::Netlink netlink = space.netlink();
  add_tt(space);
  for (const char* const each : {"198.18.8.1/24", "fd00::8/64"})
    netlink.add_address("tt", *tap::Cidr::parse(each)).value();
  netlink.set_up("tt").value();
  netlink.add_default_route("tt", *tap::IpAddress::parse("198.18.8.9")).value();
  for (const int number : {SIGTERM, SIGKILL}) {
    Tool tap(tap_in(
        space, {"--create", "--name", "tt", "--gateway", "198.18.8.9", "--gateway", "fd00::fe"}));
    ASSERT_TRUE(tap.wait_for("tt is on " + bus));
    EXPECT_EQ(default_routes_of(space), before + "fd00::fe on tt\n");
    tap.signal(number);
    tap.finish();
    EXPECT_TRUE(eventually([&] { return default_routes_of(space) == before; }))
        << default_routes_of(space);
  }
  netlink.remove_default_route("tt", *tap::IpAddress::parse("198.18.8.9")).value();
  Tool tap(tap_in(space, {"--name", "tt", "--gateway", "198.18.8.9", "--gateway", "fd00::fe"}));
  ASSERT_TRUE(tap.wait_for("tt is on " + bus));
  EXPECT_EQ(default_routes_of(space), before + "fd00::fe on tt\n");
  tap.signal(SIGTERM);
  tap.finish();
  EXPECT_TRUE(eventually([&] { return default_routes_of(space).empty(); }))
      << default_routes_of(space);
}

TEST_F(TapCommand, RefusesWhatCannotBeBeforeItMakesABusOrADevice) {
  const TestNamespace with_tt, with_v0;
  add_tt(with_tt);
  with_v0.netlink().add_veth("v0", "v1").value();
  for (const auto& [space, name] : {std::pair{&with_tt, "tt"}, {&with_v0, "v0"}}) {
    tap::Netlink netlink = space->netlink();
    netlink.add_address(name, *tap::Cidr::parse("198.18.8.1/24")).value();
    netlink.set_up(name).value();
    netlink.add_default_route(name, *tap::IpAddress::parse("198.18.8.9")).value();
  }
  struct Case {
    const TestNamespace& space;
    Words words;
    int status;
    std::string why;
  };
  for (const Case& each : std::vector<Case>{
           {with_v0, {"--name", "lo"}, 1, "the loopback interface has this name"},
           {with_tt, {"--name", "tt", "--gateway", "198.18.8.10"}, 1, "198.18.8.9 on interface tt"},
           {with_v0, {"--name", "lab0", "--fault", "los=1%"}, 2, "--fault: fault \"los=1%\""},
           {with_v0, {"--name", "lab0", "--gateway", "nowhere"}, 2, "--gateway: "},
           {with_v0,
            {"--name", "lab0", "--ip", "fd00::1/64", "--gateway", "fd00::2", "--gateway",
             "fd00::3"},
            2,
            "fd00::2 is the gateway already"},
           {with_v0,
            {"--name", "lab0", "--ip", "198.18.0.1/24", "--gateway", "198.18.1.254"},
            2,
            "198.18.1.254 is not in any network"},
           {with_v0,
            {"--name", "lab0", "--ip", "198.18.0.1/24", "--gateway", "198.18.0.254"},
            1,
            "198.18.8.9 on interface v0"}}) {
    const ToolResult refused = run_program(tap_in(each.space, Words{"--create"} + each.words));
    EXPECT_EQ(refused.status, each.status) << refused.err;
    EXPECT_TRUE(contains(refused.err, each.why));
    EXPECT_FALSE(each.space.netlink().interface("lab0"));
    EXPECT_FALSE(std::filesystem::exists(bus));
  }
}

}  // namespace
}  // namespace shmif::test
