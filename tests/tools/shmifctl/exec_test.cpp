// shmifctl exec: programs as hosts on a bus.

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/traced_family.hpp"
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
  EXPECT_EQ(Bus::open(made).value().info().ring_bytes, 8U << 20U) << "as its help says";
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

// shmifctl exec: however many hosts end at once, and whatever their programs do against it, nothing
// of them is left. And what shmifctl stop waits for.

class ExecEnd : public ExecRig {
 protected:
  /// A shell, leader of a process group of its own, that runs `script`.
  class Group {
   public:
    Group(const std::string& mark, const std::string& script) {
      std::fflush(nullptr);
      pid_ = ::fork();
      if (pid_ != 0) {
        ::setpgid(pid_, pid_);  // both of them, so that the group is there for whoever comes first
        return;
      }
      ::setpgid(0, 0);
      ::putenv(const_cast<char*>(mark.c_str()));
      ::execlp("sh", "sh", "-c", script.c_str(), nullptr);
      ::_exit(99);
    }
    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;
    ~Group() {
      ::kill(-pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    void signal(int number) const { ::kill(-pid_, number); }

   private:
    pid_t pid_ = -1;
  };

  /// A host's command line as a shell takes it. No word of it has a quote in it.
  std::string shell_line(const std::string& script) const {
    std::string line;
    for (const std::string& word : host_line({"sh", "-c", script}, {})) line += '\'' + word + "' ";
    return line;
  }
  long live_ports() const {
    const BusInfo info = Bus::open(bus()).value().info();
    return std::ranges::count_if(info.ports, [](const PortInfo& port) { return port.live; });
  }
  void expect_nothing_left() const {
    EXPECT_TRUE(eventually([&] { return processes_with(mark_).empty(); }))
        << processes_with(mark_).size() << " processes";
    EXPECT_TRUE(eventually([&] { return live_ports() == 0; })) << live_ports() << " ports";
  }
  Words marked(const std::string& script) const {
    return by_env(host_line({"sh", "-c", script}, {"--name", "a"}));
  }
  Words by_env(Words line) const {
    line.insert(line.begin(), {"env", mark_});
    return line;
  }

  const std::string mark_ = fresh_mark();
};

INSTANTIATE_TEST_SUITE_P(Each, ExecEnd, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecEnd, NothingIsLeftOfTwentyHostsWhoseProcessGroupIsEndedAtOnce) {
  for (const int number : {SIGKILL, SIGTERM, SIGHUP}) {
    const Group group(mark_, "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do " +
                                 shell_line("setsid sleep 1000 & sleep 1000") + "& done; wait");
    ASSERT_TRUE(eventually([&] { return live_ports() == 20; })) << live_ports();
    group.signal(number);
    expect_nothing_left();
  }
}

TEST_P(ExecEnd, NothingIsLeftOfAHostThatIsKilledWhileItsProgramForksWithoutPause) {
  for (const int number : {SIGKILL, SIGTERM}) {
    Tool host(
        marked("echo here; i=0; while test $i -lt 400; do (setsid sleep 1000 &); i=$((i+1)); done; "
               "sleep 1000"));
    ASSERT_TRUE(host.wait_for("here"));
    ASSERT_TRUE(eventually([&] { return processes_with(mark_).size() > 40; }));
    host.signal(number);
    expect_nothing_left();
    EXPECT_EQ(host.finish().status, 128 + number);
  }
}

TEST_P(ExecEnd, NothingIsLeftOfAProgramThatIgnoresSignalsWhenItsHostIsKilled) {
  Tool host(
      marked("trap 'echo no' TERM; trap '' INT HUP; echo here; "
             "while :; do sleep 0.05; done"));
  ASSERT_TRUE(host.wait_for("here"));
  for (const int number : {SIGHUP, SIGINT, SIGTERM}) host.signal(number);
  EXPECT_TRUE(host.wait_for("no")) << "it has the last word on its own end";
  EXPECT_FALSE(processes_with(mark_).empty());
  host.signal(SIGKILL);
  expect_nothing_left();
}

TEST_P(ExecEnd, HostThatIsKilledAndStartedAgainAtOnceHasItsNameAgain) {
  // The kernel releases TAP devices and io_uring of a killed process before the bus.
  std::vector<std::unique_ptr<Tool>> hosts;
  for (int round = 0; round < 20; ++round) {
    hosts.push_back(std::make_unique<Tool>(
        host_line({"sh", "-c", "echo here; sleep 1000"},
                  {"--name", "a", "--mac", "b2:a0:00:00:00:01", "--ip", "198.18.0.1/24"})));
    ASSERT_TRUE(hosts.back()->wait_for("here")) << round << ": " << hosts.back()->finish().err;
    hosts.back()->signal(SIGKILL);
  }
}

TEST_P(ExecEnd, HostThatLeadsASessionEndsWithItsTerminal) {
  // As with `ssh -t`: no shell passes the hang-up on, and the kernel tells only the leader.
  UniqueFd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(master && ::grantpt(master.get()) == 0 && ::unlockpt(master.get()) == 0);
  const std::string name = ::ptsname(master.get());
  Words line = marked("exec sleep 1000");
  std::fflush(nullptr);
  const pid_t host = ::fork();
  if (host == 0) {
    ::setsid();
    const int terminal = ::open(name.c_str(), O_RDWR | O_CLOEXEC);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(terminal, fd);
    std::vector<char*> words;
    for (std::string& word : line) words.push_back(word.data());
    words.push_back(nullptr);
    ::execvp(words[0], words.data());
    ::_exit(99);
  }
  EXPECT_TRUE(eventually([&] { return port("a") && port("a")->up; }));
  EXPECT_TRUE(eventually([&] { return processes_with(mark_).size() >= 3; }));
  master.reset();
  int status = -1;
  EXPECT_TRUE(eventually([&] { return ::waitpid(host, &status, WNOHANG) == host; }));
  EXPECT_EQ(status, W_EXITCODE(128 + SIGHUP, 0));
  expect_nothing_left();
  if (status == -1) ::kill(host, SIGKILL);
}

// shmifctl exec as a job of an interactive shell, typed at a real terminal.

/// An interactive bash on a terminal of its own.
class Shell {
 public:
  explicit Shell(const std::string& mark) : master_(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    EXPECT_TRUE(master_ && ::grantpt(master_.get()) == 0 && ::unlockpt(master_.get()) == 0);
    const std::string name = ::ptsname(master_.get());
    std::fflush(nullptr);
    shell_ = ::fork();
    if (shell_ == 0) {
      ::setsid();
      const int terminal = ::open(name.c_str(), O_RDWR | O_CLOEXEC);
      for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(terminal, fd);
      ::putenv(const_cast<char*>(mark.c_str()));
      ::setenv("PS1", "$ ", 1);
      ::execlp("bash", "bash", "--norc", "--noprofile", "--noediting", "-i", nullptr);
      ::_exit(99);
    }
  }
  Shell(const Shell&) = delete;
  Shell& operator=(const Shell&) = delete;
  ~Shell() {
    master_.reset();
    ::kill(shell_, SIGKILL);
    ::waitpid(shell_, nullptr, 0);
  }

  void type(const std::string& keys) const {
    (void)!::write(master_.get(), keys.data(), keys.size());
  }
  /// Waits for `text` on the screen, and forgets the screen up to its end.
  bool shows(const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + kGenerousTime;
    for (;;) {
      const std::size_t at = screen_.find(text);
      if (at != std::string::npos) {
        passed_ = screen_.substr(0, at);
        screen_.erase(0, at + text.size());
        return true;
      }
      pollfd entry{master_.get(), POLLIN, 0};
      if (std::chrono::steady_clock::now() >= deadline) return false;
      if (::poll(&entry, 1, 50) <= 0) continue;
      std::array<char, 4096> chunk{};
      const ssize_t n = ::read(master_.get(), chunk.data(), chunk.size());
      if (n <= 0) return false;
      screen_.append(chunk.data(), static_cast<std::size_t>(n));
    }
  }
  /// Types a command whose answer nothing else prints. Result: whether this shell gives it.
  bool answers(const std::string& name) {
    type("echo " + name + "-$((6*7))-$$\n");
    return shows(name + "-42-" + std::to_string(shell_));
  }
  const std::string& screen() const { return screen_; }
  /// What was on the screen before what shows() found last.
  const std::string& passed() const { return passed_; }

 private:
  UniqueFd master_;
  pid_t shell_ = -1;
  std::string screen_;
  std::string passed_;
};

class ExecJob : public ExecRig {
 protected:
  void SetUp() override {
    ExecRig::SetUp();
    if (!has_program("bash")) GTEST_SKIP() << "no bash here";
  }
  std::string line(Words program) const {
    std::string text;
    for (const std::string& word : host_line(std::move(program), {"--name", "a"})) {
      text += '\'' + word + "' ";
    }
    return text;
  }
  const std::string mark_ = fresh_mark();
};

INSTANTIATE_TEST_SUITE_P(Each, ExecJob, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecJob, ShellInTheBackgroundStopsAndComesBackByFg) {
  for (const Words& inner : {Words{"bash", "--norc", "--noediting"}, {"sh"}}) {
    Shell shell(mark_);
    ASSERT_TRUE(shell.answers("first"));
    shell.type(line(inner) + "&\n");
    ASSERT_TRUE(eventually([&] { return port("a").has_value(); })) << shell.screen();
    // The user's shell has the terminal, and tells that its job has stopped.
    ASSERT_TRUE(eventually([&] {
      shell.type("jobs\n");
      EXPECT_TRUE(shell.answers("mine")) << inner[0] << shell.screen();
      return shell.passed().find("Stopped") != std::string::npos || HasFailure();
    })) << shell.screen();
    shell.type("fg\n");
    // The shell in there now has the terminal: its number is of its own pid namespace.
    shell.type("echo inner-$((6*7))-$$-\n");
    ASSERT_TRUE(shell.shows("inner-42-2-")) << inner[0] << shell.screen();
    shell.type("exit 5\n");
    shell.type("echo status-$?-\n");
    EXPECT_TRUE(shell.shows("status-5-")) << shell.screen();
    EXPECT_TRUE(shell.answers("last")) << shell.screen();
  }
}

TEST_P(ExecJob, EnteredProgramIsAJobAsAnyOther) {
  const auto host = start("h", "sleep 601");
  std::string enter;
  for (const std::string& word : by_caller({shmifctl_path(), "enter", bus(), "h", "--"})) {
    enter += '\'' + word + "' ";
  }
  Shell shell(mark_);
  ASSERT_TRUE(shell.answers("first"));
  // A shell in there has job control of its own.
  shell.type(enter + "bash --norc --noediting -i\n");
  shell.type("echo inner-$((6*7))-$(hostname)-\n");
  ASSERT_TRUE(shell.shows("inner-42-h-")) << shell.screen();
  shell.type("exit 5\n");
  shell.type("echo status-$?-\n");
  EXPECT_TRUE(shell.shows("status-5-")) << shell.screen();
  // Ctrl-Z stops the job, fg continues it, and Ctrl-C ends it.
  shell.type(enter + "sh -c 'echo up-$((6*7)); exec cat'\n");
  ASSERT_TRUE(shell.shows("up-42")) << shell.screen();
  shell.type("\x1a");
  ASSERT_TRUE(shell.shows("Stopped")) << shell.screen();
  ASSERT_TRUE(shell.answers("mine")) << shell.screen();
  shell.type("fg\n");
  ASSERT_TRUE(shell.shows("exec cat'\r\n")) << shell.screen();
  shell.type("typed\n");
  ASSERT_TRUE(shell.shows("typed\r\ntyped")) << shell.screen();
  shell.type("\x03");
  ASSERT_TRUE(shell.shows("^C") && shell.shows("$ ")) << shell.screen();
  shell.type("echo status-$?-\n");
  EXPECT_TRUE(shell.shows("status-130-")) << shell.screen();
  EXPECT_TRUE(port("h"));
}

TEST_P(ExecJob, InterruptIsForEveryProcessOfTheJob) {
  Shell shell(mark_);
  ASSERT_TRUE(shell.answers("first"));
  std::string enter;
  for (const std::string& word : by_caller({shmifctl_path(), "enter", bus(), "a", "--"})) {
    enter += '\'' + word + "' ";
  }
  // This shell heeds its trap only when its child has ended, so the child must get the signal, too.
  const std::string job =
      "sh -c \"trap 'echo inter''rupted; exit 0' INT; sh -c 'echo rea''dy; exec sleep 601'\" ";
  const auto ends_by = [&](const std::string& keys) {
    EXPECT_TRUE(shell.shows("ready")) << shell.screen();
    shell.type(keys);
    EXPECT_TRUE(shell.shows("interrupted")) << shell.screen();
    EXPECT_TRUE(shell.answers("last")) << shell.screen();
  };
  shell.type(line({}) + job + '\n');
  ends_by("\x03");
  const auto host = start("a", "sleep 601");
  shell.type(enter + job + '\n');
  ends_by("\x03");
  shell.type(enter + job + "&\n");
  ends_by("kill -INT %%\n");
}

}  // namespace
}  // namespace shmif::test
