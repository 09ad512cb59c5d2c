// Uplinks over VXLAN: three machines, one segment.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/eventually.hpp"
#include "tests/tools/common/refusal.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"
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
  EXPECT_TRUE(contains(ended.out, "bus:" + bus(1) + " -> vxlan:42: "));
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
  EXPECT_TRUE(contains(ended.out, "frames between hosts of this bus stayed there"));
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
  EXPECT_TRUE(contains(ended.err, "bus:" + bus(1) + " was removed"));
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
    EXPECT_TRUE(contains(one->so_far().err, part));
  const auto there = host(2, 20, "exec sleep 1000");
  EXPECT_EQ(on_host(1, 10, "ping -q -c 1 -W 60 -s 1472 -M dont 198.18.0.20").status, 0)
      << "long frames arrive in fragments";
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
  EXPECT_TRUE(contains(refused.err, "needs root; without root, use --ssh"));
}

TEST_F(UplinkVxlan, RefusesWhatCannotBeMeant) {
  connect(2);
  ASSERT_EQ(
      run_program(inside(machine(1), {"ip", "addr", "add", "198.18.8.1/24", "dev", "eth0"})).status,
      0);
  const std::string one = address(1), two = address(2), own = "is this machine";
  struct Case {
    Words options;
    std::string said;
  };
  for (const Case& c : std::vector<Case>{
           {{}, "give one of --vxlan ID, --ssh HOST:PATH and --stdio"},
           {{"--vxlan", "1", "--ssh", "b:/x"}, "several ways"},
           {{"--remote", two}, "--remote needs --vxlan"},
           {{"--evpn", two}, "--evpn needs --vxlan"},
           {{"--vxlan", "1", "--evpn", two, "--asn", "1", "--udp-port", "1"}, "is for --remote"},
           {{"--vxlan", "1", "--remote", two, "--remote", "198.18.8.2"}, "give --local ADDRESS"},
           {{"--vxlan", "16777216", "--remote", two}, "16777216"},
           {{"--vxlan", "1"}, "give --remote ADDRESS for each, or --evpn PEER"},
           {{"--vxlan", "1", "--remote", "b"}, "--remote"},
           {{"--vxlan", "1", "--remote", "239.1.1.1"}, "239.1.1.1 is a multicast address"},
           {{"--vxlan", "1", "--remote", "255.255.255.255"}, "is a broadcast address"},
           {{"--vxlan", "1", "--remote", "250.0.0.1"}, "250.0.0.1 is a reserved address"},
           {{"--vxlan", "1", "--remote", "198.18.9.255"},
            "198.18.9.255 is a broadcast address of this machine's network"},
           {{"--vxlan", "1", "--evpn", "198.18.9.255", "--asn", "1"}, "is a broadcast address"},
           {{"--vxlan", "1", "--evpn", "224.0.0.5", "--asn", "1"}, "give --evpn once for each"},
           {{"--vxlan", "1", "--remote", "0.0.0.0"}, "is the unspecified address"},
           {{"--vxlan", "1", "--remote", "ff02::1"}, "ff02::1 is a multicast address"},
           {{"--vxlan", "1", "--remote", "::"}, "is the unspecified address"},
           {{"--vxlan", "1", "--remote", two, "--remote", two}, "given twice"},
           {{"--vxlan", "1", "--remote", two, "--remote", address6(2)}, "only IPv4 or only IPv6"},
           {{"--vxlan", "1", "--remote", two, "--local", address6(1)}, "one family"},
           {{"--vxlan", "1", "--remote", two, "--local", "198.18.9.77"},
            "198.18.9.77 is no address of this machine"},
           {{"--vxlan", "1", "--remote", one}, own},
           {{"--vxlan", "1", "--remote", "198.18.8.1"}, own},
           {{"--vxlan", "1", "--remote", "198.18.8.1", "--local", one}, own},
           {{"--vxlan", "1", "--remote", address6(1)}, own},
           {{"--vxlan", "1", "--remote", "127.0.0.1"}, own},
           {{"--vxlan", "1", "--evpn", one, "--asn", "65000"}, own},
           {{"--vxlan", "1", "--remote", two, "--asn", "1"}, "--asn needs --evpn"},
           {{"--vxlan", "1", "--evpn", two}, "--evpn needs --asn N"},
           {{"--vxlan", "1", "--evpn", address6(2), "--asn", "1"}, "IPv4 only"},
           {{"--vxlan", "1", "--evpn", two, "--asn", "1", "--remote", two}, "--evpn"},
           {{"--vxlan", "1", "--evpn", two, "--asn", "0"}, "--asn"},
           {{"--vxlan", "1", "--remote", two, "--ssh-option", "Port=1"}, "needs --ssh"},
           {{"--ssh", "b:/x", "--remote", two}, "--remote needs --vxlan"},
           {{"--ssh", "b"}, "is not HOST:PATH"},
           {{"--ssh", "-oProxyCommand=id:/x"}, "does not begin with '-'"},
           {{"--stdio", "--json"}, "--json"}}) {
    const ToolResult result = asked(c.options);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_TRUE(contains(result.err, c.said));
  }
  expect_refusal(asked({"--vxlan", "1", "--remote", "198.18.77.1"}), {"198.18.77.1", "ip route"});
  const auto of_bus = [&](const std::string& path, const Words& more) {
    return run_program(
        inside(machine(1), Words{shmifctl_path(), "uplink", path, "--vxlan", "1"} + more));
  };
  expect_refusal(of_bus(bus(1) + "none", {"--remote", two}), {bus(1) + "none", "shmifctl create"});
  // Too wide for VXLAN: neither made nor joined.
  const std::string wide = bus(1) + "wide";
  const Words make{"--create", "--mtu", "65521", "--remote", two};
  expect_refusal(of_bus(wide, make), {wide, "65521", "65485", "--mtu"});
  EXPECT_FALSE(std::filesystem::exists(wide));
  Bus::create(wide, {.mtu = 65521}).value();
  expect_refusal(of_bus(wide, {"--remote", two}), {"65521", "65485", "--mtu"});
  expect_refusal(of_bus(wide, {"--remote", address6(2)}), {"65521", "65465", "--mtu"});
}

// Uplinks whose machines find each other by FRR's EVPN.

class UplinkEvpn : public Machines {
 protected:
  void SetUp() override {
    Machines::SetUp();
    if (!has_program("zebra")) GTEST_SKIP() << "no zebra here";
  }
};

/// The processes of bgpd that run in the network of a machine: other tests may run some of their
/// own, with the same addresses.
std::vector<pid_t> daemons_in(const tap::test::TestNamespace& machine) {
  struct stat network{};
  EXPECT_EQ(::fstat(machine.descriptor(), &network), 0);
  std::vector<pid_t> found;
  for (const auto& each : std::filesystem::directory_iterator("/proc")) {
    std::ostringstream read;  // empty for a process that has just ended
    read << std::ifstream(each.path() / "cmdline").rdbuf();
    if (read.str().find("/bgpd") == std::string::npos) continue;
    struct stat its{};
    if (::stat((each.path() / "ns/net").c_str(), &its) != 0) continue;
    if (its.st_dev == network.st_dev && its.st_ino == network.st_ino)
      found.push_back(std::stoi(each.path().filename()));
  }
  return found;
}

TEST_F(UplinkEvpn, ThreeMachinesFindEachOtherAndKeepLocalFramesAtHome) {
  connect(3);
  const auto one = uplink_by_evpn(1, 3);
  const auto two = uplink_by_evpn(2, 3);
  const auto three = uplink_by_evpn(3, 3);
  for (const auto* const each : {&one, &two, &three})
    EXPECT_TRUE((*each)->wait_for(" is up")) << (*each)->so_far().out << (*each)->so_far().err;
  const auto far = host(2, 20, "exec sleep 1000");
  const auto farther = host(3, 30, "exec sleep 1000");
  EXPECT_TRUE(reaches(1, 10, 20));
  EXPECT_TRUE(reaches(1, 10, 30));
  EXPECT_TRUE(reaches(2, 21, 30));
  const ToolResult ended = end(*one);
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_TRUE(two->wait_for("peer " + address(1) + " is down"));
}

TEST_F(UplinkEvpn, EndsItsRoutingProgramsAlsoWhenItIsKilled) {
  connect(2);
  for (const int number : {SIGKILL, SIGTERM}) {
    const auto one = uplink_by_evpn(1, 2);
    ASSERT_TRUE(eventually([this] { return !daemons_in(machine(1)).empty(); }));
    one->signal(number);
    one->finish();
    EXPECT_TRUE(eventually([this] { return daemons_in(machine(1)).empty(); }));
  }
}

TEST_F(UplinkEvpn, EndsWithWhatBgpdSaidWhenThatDies) {
  connect(2);
  const auto one = uplink_by_evpn(1, 2);
  ASSERT_TRUE(eventually([this] { return !daemons_in(machine(1)).empty(); }));
  ::kill(daemons_in(machine(1)).front(), SIGKILL);
  const ToolResult ended = one->finish();
  EXPECT_EQ(ended.status, 1);
  EXPECT_TRUE(contains(ended.err, "bgpd has ended by signal 9"));
  EXPECT_FALSE(contains(ended.err, "port 179"));
}

}  // namespace
}  // namespace shmif::test
