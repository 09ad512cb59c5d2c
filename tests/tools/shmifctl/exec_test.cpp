// shmifctl exec: programs as hosts on a bus.

#include <signal.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

using Exec = ExecRig;
INSTANTIATE_TEST_SUITE_P(Each, Exec, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(Exec, WaitReturnsWhenPortsAreUpAndTheirServicesAnswerOverBothIps) {
  if (!has_program("busybox")) GTEST_SKIP() << "no busybox here: its httpd is the server";
  const auto idle = start("idle", "sleep 600", {"--ip", "198.18.0.9/24"});
  const auto server = start(
      "web",
      "until [ -e " + file("go") + " ]; do sleep 0.02; done; exec busybox httpd -f -p 80 -h /usr",
      {"--ip", "198.18.0.1/24", "--ip", "fd00::1/64"});
  const auto wait = [&](Words more) {
    return by_caller(Words{shmifctl_path(), "wait", bus()} + more);
  };
  const auto failure = [&](Words more) {
    const ToolResult result = run_program(wait(std::move(more)));
    EXPECT_EQ(result.status, 1);
    return result.err;
  };
  EXPECT_TRUE(contains(failure({"--tcp", "[fd00::8]:80", "--timeout", "0.1"}),
                       "no host on the bus has the address fd00::8"));
  if (GetParam().via == "tap") {  // once is enough: it takes its whole time
    const std::string err =
        failure({"--tcp", "198.18.0.9:80", "--from", "198.18.0.250", "--timeout", "1"});
    EXPECT_TRUE(contains(err, "nothing listens on port 80"));
  }
  Tool waiting(wait({"--port", "idle", "--port", "web", "--tcp", "198.18.0.1:80", "--tcp",
                     "[fd00::1]:80", "--timeout", "100"}));
  Tool from(wait({"--tcp", "198.18.0.1:80", "--from", "198.18.0.250", "--timeout", "100"}));
  std::ofstream(file("go")).close();
  for (Tool* const tool : {&waiting, &from}) {
    const ToolResult result = tool->finish();
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.out + result.err, "");
  }
}

TEST_P(Exec, AHostThatSetsItsInterfaceDownHasNoCarrierAndAnswersNoPing) {
  if (!has_program("ip")) GTEST_SKIP() << "no ip here";
  const std::string go = file("go");
  const auto host = start("a", "PATH=$PATH:/sbin:/usr/sbin; until [ -e " + go +
                                   " ]; do sleep 0.02; done; ip link set tap0 down; read line");
  ASSERT_TRUE(eventually([&] { return port("a") && port("a")->carrier; }));
  std::ofstream(go).close();
  ASSERT_TRUE(eventually([&] { return port("a") && !port("a")->carrier; }));
  const ToolResult ping =
      run_program(by_caller({shmifctl_path(), "ping", bus(), "-c", "1", "--timeout", "0.1"}));
  EXPECT_EQ(ping.status, 1) << ping.out;
}

// As a container runtime in the host would: to a namespace, to one of a user namespace below, and
// back.
TEST_P(Exec, APortFollowsTheInterfaceThatItsHostMoves) {
  if (!has_program("ip")) GTEST_SKIP() << "no ip here";
  const auto host = start(
      "a", "PATH=$PATH:/sbin:/usr/sbin; await() { until [ -e " + file("$1") +
               " ]; do sleep 0.02; done; }; mkdir -p /run/netns && ip netns add x && "
               "ip link set tap0 netns x && ip -n x link set tap0 address 02:00:00:00:00:01 up && "
               "await one && ip -n x link set tap0 down && await two && "
               "{ unshare -Urn sh -c 'touch /run/made; exec sleep 600' & } && "
               "until [ -e /run/made ]; do sleep 0.02; done && ip -n x link set tap0 netns $! && "
               "nsenter -t $! -n ip link set tap0 name eth7 address 02:00:00:00:00:02 up && "
               "await three && nsenter -t $! -n ip link set eth7 netns 1 && "
               "ip link set eth7 address 02:00:00:00:00:03 up && sleep 600");
  const auto is = [&](const char* mac, bool carrier) {
    return eventually([&] {
      const auto now = port("a");
      return now && now->mac == *MacAddress::parse(mac) && now->carrier == carrier &&
             now->carrier_known;
    });
  };
  EXPECT_TRUE(is("02:00:00:00:00:01", true));
  std::ofstream(file("one")).close();
  EXPECT_TRUE(is("02:00:00:00:00:01", false));
  std::ofstream(file("two")).close();
  EXPECT_TRUE(is("02:00:00:00:00:02", true));
  const ToolResult waited =
      run_program(by_caller({shmifctl_path(), "wait", bus(), "--port", "a", "--timeout", "100"}));
  EXPECT_EQ(waited.status, 0) << waited.err;
  std::ofstream(file("three")).close();
  EXPECT_TRUE(is("02:00:00:00:00:03", true));
  const ToolResult ping = run_program(
      by_caller({shmifctl_path(), "ping", bus(), "--to", "a", "-c", "1", "--timeout", "100"}));
  EXPECT_EQ(ping.status, 0) << ping.err;
}

TEST_P(Exec, WhatAnInterfaceWasGivenIsThereAgainWhenItComesUpAgain) {
  if (!has_program("ip")) GTEST_SKIP() << "no ip here";
  const std::string await =
      "await() { for i in $(seq 400); do ip addr show dev $1 | grep -q $2 && ip -4 route | grep -q "
      "'default via 198.18.0.254' && ip -6 route | grep -q 'default via fd00::ff' && return; "
      "sleep 0.05; done; ip addr; ip route; ip -6 route; exit 1; }; ";
  for (const char* const face : {"tap0", "lan0"}) {
    Words options{"--ip",       "198.18.0.1/24", "--ip",         "fd00::1/64", "--ip",
                  "fd00::2/64", "--gateway",     "198.18.0.254", "--gateway",  "fd00::ff"};
    if (face == std::string("lan0")) options.emplace_back("--lan");
    const ToolResult seen = run_shell(
        "PATH=$PATH:/sbin:/usr/sbin; IF=" + std::string(face) + "; " + await +
            "ip link set $IF down; ip link set $IF up; await $IF fd00::1/64; await $IF fd00::2/64; "
            // What somebody removed stays away.
            "ip addr del fd00::1/64 dev $IF; ip link set $IF down; ip link set $IF up; "
            "await $IF fd00::2/64; ip -6 addr show dev $IF | grep fd00::1/; true",
        options);
    EXPECT_EQ(seen.status, 0) << seen.out << seen.err;
    EXPECT_EQ(seen.out, "");
  }
}

TEST_P(Exec, AnIpv6AddressThatAnotherHostHasIsTakenAwayAlsoIfItIsAddedLater) {
  if (!has_program("ip")) GTEST_SKIP() << "no ip here";
  if (::access("/proc/sys/net/ipv6/conf/default/optimistic_dad", F_OK) != 0)
    GTEST_SKIP() << "this kernel has no optimistic detection";
  const auto first = start("a", "sleep 600", {"--ip", "fd00::5/64", "--ip", "fd00::6/64"});
  const ToolResult second = run_shell(
      "PATH=$PATH:/sbin:/usr/sbin; ip -6 addr add fd00::6/64 dev tap0; for i in $(seq 400); do "
      "[ $(ip -6 addr show dev tap0 | grep -c 'fd00::[56].*dadfailed') = 2 ] && exit; sleep 0.05; "
      "done; ip addr; exit 1",
      {"--ip", "fd00::5/64"});
  EXPECT_EQ(second.status, 0) << second.out;
  EXPECT_TRUE(contains(second.err, "has the address fd00::5, too"));
}

TEST_P(Exec, InterfaceHasTheMtuOfTheBus) {
  bus("bus", 9000);
  // The probe of SetUp has made it already, with the default; so a second one.
  const std::string jumbo = bus("jumbo", 9000);
  const Words first = {"--bus", jumbo, "--ip", "198.18.1.1/24"};
  const auto other = start("a", "sleep 600", first);
  const ToolResult pinged =
      run_shell("cat /sys/class/net/tap1/mtu; ping -q -c 1 -W 60 -M do -s 8972 198.18.1.1",
                {"--bus", jumbo, "--ip", "198.18.1.2/24"});
  EXPECT_EQ(pinged.status, 0) << pinged.out << pinged.err;
  EXPECT_EQ(pinged.out.substr(0, 5), "9000\n");
}

TEST_P(Exec, RouterOnTwoBusesForwards) {
  const std::string far = bus("far");
  const auto router = start(
      "r", "exec sleep 600",
      {"--ip", "198.18.0.254/24", "--ip", "fd00::fe/64", "--ifname", "left", "--forward", "--bus",
       far, "--ip", "198.18.1.254/24", "--ip", "fd00:1::fe/64", "--ifname", "right"});
  Tool end(by_caller({shmifctl_path(), "exec", far, "--ip", "198.18.1.1/24", "--gateway",
                      "198.18.1.254", "--ip", "fd00:1::1/64", "--gateway", "fd00:1::fe", "--", "sh",
                      "-c", "echo there; sleep 600"}));
  ASSERT_TRUE(end.wait_for("there"));
  for (const std::string across : {"198.18.1.1", "fd00:1::1"}) {
    const ToolResult pinged =
        run_shell("for i in 1 2 3 4 5; do ping -q -c 1 -W 1 " + across + " && exit 0; done; exit 1",
                  {"--ip", "198.18.0.1/24", "--gateway", "198.18.0.254", "--ip", "fd00::1/64",
                   "--gateway", "fd00::fe"});
    EXPECT_EQ(pinged.status, 0) << across << pinged.out << pinged.err;
  }
}

TEST_P(Exec, ForwardsFromBeforeTheProgramStartsAndOnlyIfAskedTo) {
  const std::string script =
      "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding "
      "/proc/sys/net/ipv6/conf/tap0/forwarding";
  EXPECT_EQ(run_shell(script, {"--forward"}).out, "1\n1\n1\n");
  EXPECT_EQ(run_shell(script).out, "0\n0\n0\n");
  // Its own addresses are usable at once nevertheless.
  const ToolResult own =
      run_shell("ping -q -c 1 -W 5 -I fd00::1 fd00::1", {"--forward", "--ip", "fd00::1/64"});
  EXPECT_EQ(own.status, 0) << own.out << own.err;
}

TEST_P(Exec, HostSeesItsOwnInterfacesOnly) {
  const ToolResult seen = run_shell("ls /sys/class/net; cat /sys/class/net/net7/address",
                                    {"--ifname", "net7", "--mac", "02:00:00:00:00:07"});
  EXPECT_EQ(seen.out, "lo\nnet7\n02:00:00:00:00:07\n") << seen.err;
}

TEST_P(Exec, AHostInAHostInAHostHasItsOwnProcesses) {
  const ToolResult seen = run({shmifctl_path(), "exec", bus(), "--", shmifctl_path(), "exec", bus(),
                               "--", "sh", "-c", "echo /proc/[0-9]* /sys/class/net/*"});
  EXPECT_EQ(seen.status, 0) << seen.err;
  EXPECT_EQ(seen.out, "/proc/1 /proc/2 /sys/class/net/lo /sys/class/net/tap0\n");
}

TEST_P(Exec, AHostThatIsStartedAgainHasItsMacAgainAlsoOnABusThatItMadeItself) {
  const std::string made = file("made");
  Words macs;
  for (const char* const name : {"a", "a", "b"}) {
    const ToolResult seen = run_program(
        by_caller({shmifctl_path(), "exec", made, "--create", "--via", GetParam().via, "--name",
                   name, "--", "sh", "-c", "cat /sys/class/net/tap0/address"}));
    ASSERT_EQ(seen.status, 0) << seen.err;
    macs.push_back(seen.out);
  }
  EXPECT_EQ(macs[0], macs[1]);
  EXPECT_NE(macs[0], macs[2]);
  EXPECT_NE(macs[0], run_shell("cat /sys/class/net/tap0/address", {"--name", "a"}).out)
      << "on another bus";
}

TEST_P(Exec, AHostWhoseMacIsTakenHasAnotherOneAndItsPortToo) {
  const std::string first = run_shell("cat /sys/class/net/tap0/address", {"--name", "a"}).out;
  Port other({.name = "other", .mac = MacAddress::parse(first.substr(0, 17))});
  ASSERT_TRUE(other.attach(bus()));
  const auto host = start("a", "cat /sys/class/net/tap0/address; sleep 600");
  ASSERT_TRUE(host->wait_for("\n"));
  EXPECT_NE(host->so_far().out, first);
  EXPECT_EQ(host->so_far().out, port("a")->mac.to_string() + '\n');
}

TEST_P(Exec, NeighboursHearOfAHostThatComesUpAndItHearsWhoHasItsAddresses) {
  if (!has_program("ip")) GTEST_SKIP() << "no ip here";
  const Words ips{"--ip", "198.18.0.1/24", "--ip", "fd00::1/64"};
  const auto neighbour =
      start("n",
            "PATH=$PATH:/sbin:/usr/sbin; ip neigh add 198.18.0.1 dev tap0 lladdr "
            "02:00:00:00:00:09 nud stale; ip neigh add fd00::1 dev tap0 lladdr 02:00:00:00:00:09 "
            "nud stale; echo there; while :; do ip neigh show dev tap0; sleep 0.05; done",
            {"--ip", "198.18.0.2/24", "--ip", "fd00::2/64"});
  ASSERT_TRUE(neighbour->wait_for("there"));
  const auto host = start("a", "sleep 600", ips);
  const std::string mac = port("a")->mac.to_string();
  EXPECT_TRUE(neighbour->wait_for("198.18.0.1 lladdr " + mac));
  EXPECT_TRUE(neighbour->wait_for("fd00::1 lladdr " + mac));
  const auto second = start("b", "sleep 600", ips);
  for (const char* const address : {"198.18.0.1", "fd00::1"}) {
    EXPECT_TRUE(second->wait_for(std::string("has the address ") + address + ", too: " + mac +
                                 " (port \"a\")"));
  }
  const std::string second_mac = port("b")->mac.to_string();
  for (const char* const address : {"198.18.0.1", "fd00::1"}) {
    EXPECT_TRUE(host->wait_for("exec: another host on " + bus() + " has the address " + address +
                               ", too: " + second_mac + " (port \"b\")"));
  }
  EXPECT_EQ(count_of_lines(host->so_far().err), 2) << "each once: " << host->so_far().err;
}

TEST_P(Exec, ExitStatusInputOutputAndArgumentsPassThrough) {
  const ToolResult said = run({"sh", "-c", "cat; echo oops >&2; exit 7"}, {}, "hello\n");
  EXPECT_EQ(said.status, 7);
  EXPECT_EQ(said.out, "hello\n");
  EXPECT_EQ(said.err, "oops\n");
  EXPECT_EQ(run_shell("kill -9 $$").status, 137);
  EXPECT_EQ(run({"printf", "%s|", "a,b c", "--ip", "--", "-c", ""}).out, "a,b c|--ip|--|-c||");
  EXPECT_EQ(run({"no-such-program-anywhere"}).status, 127);
  EXPECT_EQ(run({"/etc/passwd"}).status, 126);
}

TEST_P(Exec, PortSaysWhatItIsAndItsNameAndMacAreTaken) {
  const auto host = start("a", "sleep 600", {"--mac", "02:00:00:00:00:01", "--promisc"});
  const std::optional<PortInfo> info = port("a");
  ASSERT_TRUE(info);
  EXPECT_STREQ(to_string(info->link), GetParam().via.c_str());
  EXPECT_EQ(info->mac.to_string(), "02:00:00:00:00:01");
  EXPECT_TRUE(info->promiscuous);
  EXPECT_EQ(run({"true"}, {"--name", "a"}).status, 125);
  EXPECT_EQ(run({"true"}, {"--mac", "02:00:00:00:00:01"}).status, 125);
}

TEST_P(Exec, TerminationReachesTheProgram) {
  const auto host =
      start("a", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.02; done");
  ASSERT_TRUE(host->wait_for("ready"));
  host->signal(SIGTERM);
  const ToolResult ended = host->finish();
  EXPECT_EQ(ended.status, 3);
  EXPECT_TRUE(contains(ended.out, "bye"));
  EXPECT_FALSE(port("a")) << "the port is gone with the host";
}

TEST_P(Exec, PromiscuousInterfaceMakesThePortPromiscuous) {
  if (!has_program("tcpdump")) GTEST_SKIP() << "no tcpdump here";
  const auto host = start("a", "PATH=$PATH:/usr/sbin:/sbin; while ! test -e " + file("go") +
                                   "; do sleep 0.02; done; timeout 60 tcpdump -nli tap0 -c 1 icmp; "
                                   "echo over; sleep 600");
  EXPECT_FALSE(port("a")->promiscuous);
  std::ofstream(file("go")).close();
  ASSERT_TRUE(eventually([&] { return port("a")->promiscuous; }));
  // A conversation of others, which only a promiscuous port hears.
  const auto other = start("b", "sleep 600", {"--ip", "198.18.0.1/24"});
  const ToolResult pinged =
      run_shell("ping -q -c 3 -i 0.2 -W 60 198.18.0.1", {"--ip", "198.18.0.2/24"});
  EXPECT_EQ(pinged.status, 0) << pinged.out;
  EXPECT_TRUE(host->wait_for("over"));
  EXPECT_TRUE(eventually([&] { return !port("a")->promiscuous; }));
}

TEST_P(Exec, HostThatRemovesItsInterfaceGoesOn) {
  const ToolResult gone = run_shell("ip link delete tap0; sleep 0.3; exit 6");
  EXPECT_EQ(gone.status, 6);
  EXPECT_TRUE(contains(gone.err, "goes on without it"));
}

TEST_P(Exec, Ipv6OnABusTooSmallForItSaysWhatItNeeds) {
  const std::string small = bus("small", 1279);
  const ToolResult r = run_shell("true", {"--bus", small, "--ip", "fd00::1/64"});
  EXPECT_EQ(r.status, 125);
  EXPECT_TRUE(contains(r.err, "(IPv6 needs an MTU of 1280, the interface has 1279)"));
}

TEST_P(Exec, WrongUsageIsToldInOneLineAndMakesNoBus) {
  const std::string path = file("new");
  for (const Words& options :
       std::vector<Words>{{"--ip", "198.18.0.0/24"},
                          {"--ip", "198.18.0.1/24", "--ip", "198.18.0.1/24"},
                          {"--gateway", "here"},
                          {"--gateway", "198.18.0.1"},
                          {"--mac", "01:00:5e:00:00:01"},
                          {"--mac", "02:00:00:00:00:01", "--mac", "02:00:00:00:00:02"},
                          {"--ifname", "far too long a name"},
                          {"--ifname", "lo"},
                          {"--ifname", "left", "--ifname", "right"},
                          {"--ifname", "tap1", "--bus", path},
                          {"--lan", "--tap", "a/b"},
                          {"--lan", "--tap", "tap0", "--tap", "tap0"},
                          {"--lan", "--tap", "bus0"},
                          {"--lan", "--tap", "eth0", "--ifname", "eth0"},
                          {"--name", "web", "--name", "db"},
                          {"--via", "pigeon"}}) {
    Words line = Words{shmifctl_path(), "exec", path, "--create"} + options;
    line.insert(line.end(), {"--", "true"});
    const ToolResult refused = run_program(by_caller(line));
    EXPECT_EQ(refused.status, 2) << options[0] << ' ' << options[1] << '\n' << refused.err;
    EXPECT_EQ(std::count(refused.err.begin(), refused.err.end(), '\n'), 1) << refused.err;
    EXPECT_NE(::access(path.c_str(), F_OK), 0);
  }
}

TEST(ExecNotes, EachThingThatCouldNotBeHadIsTold) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: masks parts of /proc and /sys";
  const TempDir directory;
  const std::string bus = directory.file("bus");
  const ToolResult said = run_program(
      {"unshare", "-m", "sh", "-c",
       "mount -t tmpfs none /proc/tty && mount -t tmpfs none /sys/firmware && exec \"$@\"", "sh",
       shmifctl_path(), "exec", bus, "--create", "--via", "veth", "--", "echo", "runs"});
  if (said.status == 77) GTEST_SKIP() << "no hosts here: " << said.err;
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_EQ(said.out, "runs\n");
  for (const char* what :
       {"exec: cannot mount a private /proc: Operation not permitted (a container may hide parts "
        "of "
        "/proc: start it with --security-opt unmask=ALL for podman, --security-opt "
        "systempaths=unconfined for docker): the host sees the outer processes there\n",
        "exec: cannot mount a private /sys: Operation not permitted: the host sees the outer "
        "interfaces in /sys/class/net\n"}) {
    EXPECT_TRUE(contains(said.err, what));
  }
}

TEST(ExecWithoutIpv6, SaysThatThisMachineHasNone) {
  const TempDir directory;
  const std::string bus = directory.file("bus");
  const auto host = [&](Words more) {
    return run_program(
        Words{"env", std::string("LD_PRELOAD=") + in_build("tests/tools/libwithout_ipv6.so"),
              shmifctl_path(), "exec", bus, "--create", "--via", "veth"} +
        more);
  };
  const ToolResult only_ipv4 = host({"--ip", "198.18.0.1/24", "--", "echo", "runs"});
  if (only_ipv4.status == 77) GTEST_SKIP() << "no hosts here: " << only_ipv4.err;
  EXPECT_EQ(only_ipv4.status, 0) << only_ipv4.err;
  EXPECT_EQ(only_ipv4.out, "runs\n");
  const ToolResult refused = host({"--ip", "198.18.0.1/24", "--ip", "fd00::1/64", "--", "true"});
  EXPECT_EQ(refused.status, 125);
  EXPECT_TRUE(contains(refused.err,
                       "cannot add address fd00::1/64 to interface \"tap0\": Address family "
                       "not supported by protocol (this machine has no IPv6, as with "
                       "ipv6.disable=1 on the kernel's command line: give IPv4 addresses "
                       "only)\n"));
}

}  // namespace
}  // namespace shmif::test
