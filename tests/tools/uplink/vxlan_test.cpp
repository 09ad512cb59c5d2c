// Uplinks over VXLAN: three machines, one segment.

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/eventually.hpp"
#include "tests/tools/common/refusal.hpp"
#include "tests/tools/uplink/machines.hpp"

namespace shmif::test {
namespace {

using UplinkVxlan = Machines;

TEST_F(UplinkVxlan, ThreeMachinesAreOneSegmentAndCarryAWebPage) {
  connect(3);
  const auto one = uplink_to_all(1, 3);
  const auto two = uplink_to_all(2, 3);
  const auto three = uplink_to_all(3, 3);
  TempDir site("/tmp");
  std::ofstream(site.file("page")) << std::string(3'000'000, 'p');
  const auto web = host(2, 20, "cd " + site.path() + " && exec python3 -m http.server 80");
  ASSERT_EQ(
      run_tool({"wait", bus(2), "--tcp", host_address(20) + ":80", "--timeout", "100"}).status, 0);
  const auto silent = host(3, 30, "exec sleep 1000");
  EXPECT_TRUE(reaches(1, 10, 30));
  const ToolResult fetched =
      on_host(1, 11, "curl -sS --retry 5 --retry-all-errors http://198.18.0.20/page | wc -c");
  EXPECT_EQ(fetched.out, "3000000\n") << fetched.err;
  const ToolResult ended = end(*one);
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_NE(ended.out.find("bus:" + bus(1) + " -> vxlan:42: "), std::string::npos) << ended.out;
  EXPECT_EQ(ended.err, "");
}

TEST_F(UplinkVxlan, CarriesFramesOverIpv6) {
  connect(2, 1430);
  const auto one = uplink(1, {"--vxlan", "7", "--remote", address6(2)});
  const auto two = uplink(2, {"--vxlan", "7", "--remote", address6(1)});
  const auto there = host(2, 20, "exec sleep 1000");
  EXPECT_TRUE(reaches(1, 10, 20));
  EXPECT_EQ(on_host(1, 10, "ping -q -c 1 -W 60 -M do -s 1402 198.18.0.20").status, 0)
      << "a frame of the whole MTU";
}

/// The frames of a host's ping on the cable of machine 1.
TEST_F(UplinkVxlan, KeepsFramesBetweenHostsOfOneBusFromTheOtherMachines) {
  connect(2);
  const auto one = uplink_to_all(1, 2);
  const auto two = uplink_to_all(2, 2);
  const auto near = host(1, 11, "exec sleep 1000");
  const auto far = host(2, 20, "exec sleep 1000");
  Tool capture(inside(middle(), {"tcpdump", "-nlUi", cable(1), "udp port 4789"}));
  ASSERT_TRUE(capture.wait_for("listening on"));
  const ToolResult pings = on_host(1, 10,
                                   "ping -q -c 1 -W 60 198.18.0.11 && ping -q -c 50 -i 0.01 -W 60 "
                                   "198.18.0.11 && ping -q -c 3 -i 0.1 -W 60 198.18.0.20");
  ASSERT_EQ(pings.status, 0) << pings.out << pings.err;
  EXPECT_TRUE(eventually([&] {
    static_cast<void>(capture.wait_for("\a", std::chrono::milliseconds(10)));
    return times_in(capture.so_far().out, "198.18.0.20 > 198.18.0.10: ICMP echo reply") == 3;
  }));
  capture.signal(SIGINT);
  const std::string seen = capture.finish().out;
  EXPECT_EQ(times_in(seen, "198.18.0.10 > 198.18.0.20: ICMP echo request"), 3U) << seen;
  EXPECT_LE(times_in(seen, "> 198.18.0.11: ICMP echo request"), 1U)
      << "at most the one by which the kernel learns where the host is\n"
      << seen;
  EXPECT_LE(times_in(seen, "> 198.18.0.10: ICMP echo reply, id"), 3U + 1U) << seen;
  const ToolResult ended = end(*one);
  EXPECT_NE(ended.out.find("frames between hosts of this bus stayed there"), std::string::npos)
      << ended.out;
}

TEST_F(UplinkVxlan, LeavesNothingWhenItEndsOrIsKilled) {
  connect(2);
  const std::size_t before = machine(1).netlink().interfaces().value().size();
  for (const int number : {SIGTERM, SIGINT, SIGKILL, SIGTERM}) {
    const auto one = uplink_to_all(1, 2);  // the same ID each time
    EXPECT_EQ(machine(1).netlink().interfaces().value().size(), before)
        << "its devices are elsewhere";
    one->signal(number);
    const ToolResult ended = one->finish();
    EXPECT_EQ(ended.status, number == SIGKILL ? 128 + SIGKILL : 0) << ended.err;
  }
  EXPECT_EQ(run_tool({"destroy", bus(1)}).status, 0) << "its port has gone";
}

TEST_F(UplinkVxlan, EndsWhenItsBusIsRemoved) {
  connect(2);
  const auto one = uplink_to_all(1, 2);
  std::filesystem::remove(bus(1));
  const ToolResult ended = one->finish();
  EXPECT_EQ(ended.status, 1);
  EXPECT_NE(ended.err.find("bus:" + bus(1) + " was removed"), std::string::npos) << ended.err;
}

TEST_F(UplinkVxlan, OfOneIdAreNotTwoOnAMachine) {
  connect(2);
  const auto one = uplink_to_all(1, 2);
  const ToolResult second = run_program(inside(
      machine(1), {shmifctl_path(), "uplink", bus(2), "--vxlan", "42", "--remote", address(2)}));
  expect_refusal(second, {"ID 42", "4789", "choose another --vxlan"});
}

TEST_F(UplinkVxlan, SaysWhatToSetIfTheNetworkIsTooNarrow) {
  connect(2, 1500);
  const auto one = uplink_to_all(1, 2);
  const auto two = uplink_to_all(2, 2);
  for (const char* const part : {"eth0", "1550", "--mtu 1450", "'ip link set dev eth0 mtu 1550'"})
    EXPECT_NE(one->so_far().err.find(part), std::string::npos) << one->so_far().err;
  const auto there = host(2, 20, "exec sleep 1000");
  EXPECT_EQ(on_host(1, 10, "ping -q -c 1 -W 60 -s 1472 -M dont 198.18.0.20").status, 0)
      << "long frames arrive in fragments";
}

TEST_F(UplinkVxlan, GoesOnWhenACutCableIsPluggedInAgain) {
  connect(2);
  const auto one = uplink_to_all(1, 2);
  const auto two = uplink_to_all(2, 2);
  const auto there = host(2, 20, "exec sleep 1000");
  ASSERT_TRUE(reaches(1, 10, 20));
  middle().netlink().set_up(cable(2), false).value();
  EXPECT_NE(on_host(1, 10, "ping -q -c 1 -W 0.3 198.18.0.20").status, 0);
  middle().netlink().set_up(cable(2)).value();
  EXPECT_TRUE(reaches(1, 10, 20));
  EXPECT_EQ(end(*one).status, 0);
}

/// Two ways between the same two buses.
TEST_F(UplinkVxlan, EndsALoopThatASecondOneMakes) {
  connect(2);
  std::vector<std::unique_ptr<Tool>> all;
  for (const char* const id : {"42", "43"}) {
    all.push_back(uplink_to_all(1, 2, id));
    all.push_back(uplink_to_all(2, 2, id));
  }
  // The broadcast that begins it: a question for an address that nobody has.
  static_cast<void>(on_host(1, 10, "ping -q -c 1 -W 0.3 198.18.0.99"));
  const auto has_ended = [](const std::unique_ptr<Tool>& each) {
    return each->wait_for("still come back", std::chrono::milliseconds(10));
  };
  EXPECT_TRUE(eventually([&] { return std::ranges::any_of(all, has_ended); }));
  const auto frames = [&] { return Bus::open(bus(1)).value().info().frames; };
  EXPECT_TRUE(eventually([&] {
    const auto before = frames();
    usleep(200'000);
    return frames() - before < 100;
  })) << "the storm goes on";
  for (const auto& each : all) {
    if (has_ended(each)) {
      EXPECT_EQ(each->finish().status, 1);
    }
  }
}

TEST_F(UplinkVxlan, PrintsItsCountersAsJson) {
  connect(2);
  const auto one = uplink(1, {"--vxlan", "42", "--remote", address(2), "--json"});
  const auto two = uplink_to_all(2, 2);
  const auto there = host(2, 20, "exec sleep 1000");
  const auto near = host(1, 11, "exec sleep 1000");
  EXPECT_TRUE(reaches(1, 10, 20));
  EXPECT_EQ(on_host(1, 10, "ping -q -c 20 -i 0.01 -W 60 198.18.0.11").status, 0);
  const ToolResult ended = end(*one);
  const auto json = nlohmann::json::parse(ended.out);
  EXPECT_EQ(json["directions"][0]["to"], "vxlan:42");
  EXPECT_GT(json["directions"][0]["tx_frames"], 1);
  EXPECT_GT(json["directions"][1]["tx_frames"], 0);
  EXPECT_GE(json["local_frames"], 30);
  for (const auto& way : json["directions"]) {
    std::uint64_t fates = 0;
    for (const char* const name :
         {"tx_frames", "lost_frames", "too_long_frames", "timed_out_frames", "refused_frames",
          "consumed_frames", "under_way_frames"})
      fates += way[name].get<std::uint64_t>();
    for (const char* const name : {"interface_down_frames", "interface_queue_full_frames"})
      fates += way[name].is_null() ? 0 : way[name].get<std::uint64_t>();
    EXPECT_EQ(way["offered_frames"], fates) << way;
  }
}

TEST_F(UplinkVxlan, IsRefusedToAnOrdinaryUserWhoIsToldOfSsh) {
  if (!others_can_run_tool()) GTEST_SKIP() << "another user cannot run " << shmifctl_path();
  connect(2);
  std::filesystem::permissions(bus(1), std::filesystem::perms(0666));
  std::filesystem::permissions(std::filesystem::path(bus(1)).parent_path(),
                               std::filesystem::perms(0755));
  const ToolResult refused = run_program(inside(
      machine(1), {"setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups",
                   shmifctl_path(), "uplink", bus(1), "--vxlan", "42", "--remote", address(2)}));
  EXPECT_NE(refused.status, 0);
  EXPECT_NE(refused.err.find("needs root; without root, use --ssh"), std::string::npos)
      << refused.err;
}

TEST_F(UplinkVxlan, RefusesWhatCannotBeMeant) {
  connect(2);
  const auto refused = [&](const std::vector<std::string>& options, const std::string& part) {
    std::vector<std::string> words{shmifctl_path(), "uplink", bus(1)};
    words.insert(words.end(), options.begin(), options.end());
    const ToolResult result = run_program(inside(machine(1), words));
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << part << ": " << result.err;
  };
  refused({}, "give one of --vxlan ID, --ssh HOST:PATH and --stdio");
  refused({"--vxlan", "1", "--ssh", "b:/x"}, "several ways");
  refused({"--vxlan", "16777216", "--remote", address(2)}, "16777216");
  refused({"--vxlan", "1"}, "give --remote ADDRESS for each, or --evpn PEER");
  refused({"--vxlan", "1", "--remote", "b"}, "--remote");
  refused(
      {"--vxlan", "1", "--remote", "239.1.1.1"},
      "239.1.1.1 is a multicast address, and not the address of one machine (give --remote once "
      "for each machine)");
  refused({"--vxlan", "1", "--remote", "255.255.255.255"},
          "255.255.255.255 is a broadcast address");
  refused({"--vxlan", "1", "--remote", "250.0.0.1"}, "250.0.0.1 is a reserved address");
  refused(
      {"--vxlan", "1", "--remote", "198.18.9.255"},
      "198.18.9.255 is a broadcast address of this machine's network, and not the address of one "
      "machine (name each machine by its own address)");
  refused({"--vxlan", "1", "--evpn", "198.18.9.255", "--asn", "1"}, "is a broadcast address");
  refused({"--vxlan", "1", "--evpn", "224.0.0.5", "--asn", "1"}, "give --evpn once for each");
  refused({"--vxlan", "1", "--remote", "0.0.0.0"}, "is the unspecified address");
  refused({"--vxlan", "1", "--remote", "ff02::1"}, "ff02::1 is a multicast address");
  refused({"--vxlan", "1", "--remote", "::"}, "is the unspecified address");
  refused({"--vxlan", "1", "--remote", address(2), "--remote", address(2)}, "given twice");
  refused({"--vxlan", "1", "--remote", address(2), "--remote", address6(2)},
          "only IPv4 or only IPv6");
  refused({"--vxlan", "1", "--remote", address(2), "--local", address6(1)}, "one family");
  refused({"--vxlan", "1", "--remote", address(1)}, "is this machine");
  refused({"--vxlan", "1", "--remote", address(2), "--asn", "1"}, "--asn needs --evpn");
  refused({"--vxlan", "1", "--evpn", address(2)}, "--evpn needs --asn N");
  refused({"--vxlan", "1", "--evpn", address6(2), "--asn", "1"}, "IPv4 only");
  refused({"--vxlan", "1", "--evpn", address(2), "--asn", "1", "--remote", address(2)}, "--evpn");
  refused({"--vxlan", "1", "--evpn", address(2), "--asn", "0"}, "--asn");
  refused({"--vxlan", "1", "--remote", address(2), "--ssh-option", "Port=1"}, "needs --ssh");
  refused({"--ssh", "b:/x", "--remote", address(2)}, "--remote needs --vxlan");
  refused({"--ssh", "b"}, "is not HOST:PATH");
  refused({"--ssh", "-oProxyCommand=id:/x"}, "does not begin with '-'");
  refused({"--stdio", "--json"}, "--json");
  const ToolResult unreachable = run_program(inside(
      machine(1), {shmifctl_path(), "uplink", bus(1), "--vxlan", "1", "--remote", "198.18.77.1"}));
  expect_refusal(unreachable, {"198.18.77.1", "ip route"});
  expect_refusal(run_program(inside(machine(1), {shmifctl_path(), "uplink", bus(1) + "none",
                                                 "--vxlan", "1", "--remote", address(2)})),
                 {bus(1) + "none", "shmifctl create"});
}

}  // namespace
}  // namespace shmif::test
