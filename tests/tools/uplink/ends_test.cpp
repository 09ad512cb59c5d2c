// What an uplink survives, and what it refuses: networks that vanish, and wishes that cannot be.

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/eventually.hpp"
#include "tests/tools/common/refusal.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"
#include "tests/tools/uplink/ssh_rig.hpp"

namespace shmif::test {
namespace {

using Words = std::vector<std::string>;

class UplinkEnds : public SshMachines {
 protected:
  ToolResult asked(const Words& options) const {
    Words words{shmifctl_path(), "uplink", bus(1)};
    words.insert(words.end(), options.begin(), options.end());
    return run_program(inside(machine(1), words));
  }
  /// Removes the interface of machine n: not only its cable.
  void take_interface(unsigned n) const {
    ASSERT_EQ(run_program(inside(machine(n), {"ip", "link", "del", "eth0"})).status, 0);
  }
  /// Gives the machine a new one, with the same address.
  void give_interface(unsigned n) const {
    tap::Netlink outside = middle().netlink();
    const tap::NetNamespace space = machine(n).space();
    outside.add_veth(cable(n), "eth0", &space).value();
    outside.add_to_bridge(cable(n), "lan").value();
    outside.set_up(cable(n)).value();
    tap::Netlink there = machine(n).netlink();
    there.add_address("eth0", tap::Cidr::parse(address(n) + "/24").value()).value();
    there.set_up("eth0").value();
    there.wait_for_carrier("eth0", std::chrono::seconds(60)).value();
  }
  /// Prints and records how long it takes until host 10 reaches host 20 again.
  void expect_back(const std::string& what) const {
    const auto begun = std::chrono::steady_clock::now();
    EXPECT_TRUE(reaches(1, 10, 20)) << what;
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    std::printf("%s: %.2f s until a ping was answered\n", what.c_str(), seconds);
    ::testing::Test::RecordProperty("seconds", std::to_string(seconds));
  }
};

TEST_F(UplinkEnds, OverVxlanItGoesOnWhenTheInterfaceBelowVanishesAndReturns) {
  connect(2);
  const auto one = uplink_to_all(1, 2);
  const auto two = uplink_to_all(2, 2);
  const auto there = host(2, 20, "exec sleep 1000");
  ASSERT_TRUE(reaches(1, 10, 20));
  take_interface(1);
  EXPECT_NE(on_host(1, 10, "ping -q -c 1 -W 0.3 198.18.0.20").status, 0);
  give_interface(1);
  expect_back("vxlan, a new interface");
  middle().netlink().set_up(cable(1), false).value();
  EXPECT_NE(on_host(1, 10, "ping -q -c 1 -W 0.3 198.18.0.20").status, 0);
  middle().netlink().set_up(cable(1)).value();
  expect_back("vxlan, a cable");
  EXPECT_EQ(end(*one).status, 0);
}

TEST_F(UplinkEnds, WithEvpnItGoesOnWhenTheInterfaceBelowVanishesAndReturns) {
  if (!has_program("zebra")) GTEST_SKIP() << "no zebra here";
  connect(2);
  const auto one = uplink_by_evpn(1, 2);
  const auto two = uplink_by_evpn(2, 2);
  const auto there = host(2, 20, "exec sleep 1000");
  ASSERT_TRUE(reaches(1, 10, 20));
  take_interface(1);
  EXPECT_NE(on_host(1, 10, "ping -q -c 1 -W 0.3 198.18.0.20").status, 0);
  give_interface(1);
  expect_back("evpn, a new interface");
  EXPECT_EQ(end(*one).status, 0);
}

TEST_F(UplinkEnds, OverSshItGoesOnWhenTheInterfaceBelowVanishesAndReturns) {
  if (!has_sshd()) GTEST_SKIP() << "no sshd here";
  connect(2, 1500);
  const auto server = sshd(2);
  Tool tool(line(1, 2));
  ASSERT_TRUE(tool.wait_for("connected to ")) << tool.so_far().err;
  const auto there = host(2, 20, "exec sleep 1000");
  ASSERT_TRUE(reaches(1, 10, 20));
  take_interface(1);
  EXPECT_TRUE(tool.wait_for("the line is cut")) << tool.so_far().err;
  give_interface(1);
  expect_back("ssh, a new interface");
  EXPECT_EQ(end(tool).status, 0);
}

/// The frames of two routers that find each other: hellos to a group, and then unicast.
TEST_F(UplinkEnds, RoutersOnTwoMachinesBecomeNeighboursByOspf) {
  if (!has_program("zebra")) GTEST_SKIP() << "no zebra here";
  connect(2);
  const auto one = uplink_to_all(1, 2);
  const auto two = uplink_to_all(2, 2);
  TempDir files("/tmp");
  std::filesystem::permissions(files.path(), std::filesystem::perms(0755));
  std::ofstream(files.file("zebra.conf")) << "log stdout warnings\n";
  const auto router = [&](unsigned n, unsigned number) {
    const std::string name = "ospfd" + std::to_string(number);
    // A network behind each router, which the other one learns.
    std::ofstream(files.file(name)) << "log stdout informational\ninterface tap0\n"
                                    << " ip ospf network point-to-point\n"
                                    << " ip ospf hello-interval 1\n ip ospf dead-interval 4\n"
                                    << "router ospf\n log-adjacency-changes detail\n"
                                    << " ospf router-id " << host_address(number) << '\n'
                                    << " network 198.18.0.0/16 area 0\n";
    return host(n, number,
                "ip addr add 198.18." + std::to_string(number) +
                    ".1/24 dev lo; exec unshare -m sh -c 'mount --make-rprivate / && mount -t "
                    "tmpfs none /run && mount -t tmpfs none /var/tmp && mkdir /run/frr "
                    "/var/tmp/frr && chown frr:frr /run/frr /var/tmp/frr && /usr/lib/frr/zebra -d "
                    "-P 0 -f " +
                    files.file("zebra.conf") +
                    " && while ! [ -S /run/frr/zserv.api ]; do sleep 0.05; done && exec "
                    "/usr/lib/frr/ospfd -P 0 -f " +
                    files.file(name) + "'");
  };
  const auto begun = std::chrono::steady_clock::now();
  const auto left = router(1, 10);
  const auto right = router(2, 20);
  for (const auto* const each : {&left, &right})
    EXPECT_TRUE((*each)->wait_for("-> Full")) << (*each)->so_far().out << (*each)->so_far().err;
  std::printf("ospf: neighbours after %.2f s\n",
              std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
  EXPECT_TRUE(eventually([&] {
    return run_tool({"enter", bus(1), "h10", "--", "ip", "route", "get", "198.18.20.1"})
               .out.find("via 198.18.0.20") != std::string::npos;
  })) << run_tool({"enter", bus(1), "h10", "--", "ip", "route"}).out;
}

TEST_F(UplinkEnds, ABusThatIsTooWideForVxlanIsRefusedWithWhatToSet) {
  connect(2, 65521);
  expect_refusal(asked({"--vxlan", "42", "--remote", address(2)}), {"65521", "65485", "--mtu"});
  expect_refusal(asked({"--vxlan", "42", "--remote", address6(2)}), {"65521", "65465", "--mtu"});
}

TEST_F(UplinkEnds, ABusThatWouldBeTooWideForVxlanIsNotMade) {
  connect(2);
  const std::string path = bus(1) + "new";
  expect_refusal(
      run_program(inside(machine(1), {shmifctl_path(), "uplink", path, "--create", "--mtu", "65521",
                                      "--vxlan", "42", "--remote", address(2)})),
      {path, "65521", "65485", "--mtu"});
  EXPECT_FALSE(std::filesystem::exists(path));
}

/// Also the files that a bus has beside it.
TEST_F(UplinkEnds, ABusThatItMadeGoesAwayIfItCannotStart) {
  connect(2);
  const auto one = uplink_to_all(1, 2);  // has the ID 42
  const std::string path = bus(1) + "new";
  const auto left = [&] {
    std::vector<std::string> found;
    for (const auto& each :
         std::filesystem::directory_iterator(std::filesystem::path(path).parent_path())) {
      if (each.path().string().starts_with(path)) found.push_back(each.path().filename());
    }
    return found;
  };
  const auto tried = [&](const Words& before, const Words& options) {
    Words words = before;
    words.insert(words.end(), {shmifctl_path(), "uplink", path, "--create", "--mtu", "1450"});
    words.insert(words.end(), options.begin(), options.end());
    return run_program(inside(machine(1), words));
  };
  const auto expect_nothing_left = [&](const ToolResult& refused, const std::string& why) {
    EXPECT_NE(refused.status, 0);
    EXPECT_NE(refused.err.find(why), std::string::npos) << refused.err;
    EXPECT_EQ(left(), Words());
  };
  const Words to_two{"--vxlan", "42", "--remote", address(2)};
  expect_nothing_left(tried({}, to_two), "a VXLAN device with ID 42: File exists");
  expect_nothing_left(tried({"setpriv", "--inh-caps=-all", "--bounding-set=-all"}, to_two),
                      "needs root; without root, use --ssh");
  expect_nothing_left(tried({}, {"--ssh", "b:/none", "--ssh-option", "ProxyCommand=false"}),
                      "cannot reach /none on b");
  expect_nothing_left(tried({"sh", "-c", "exec \"$@\" </dev/null", "sh"}, {"--stdio"}),
                      "has closed the line");
  // One that was there before stays.
  Bus::create(path, {.mtu = 1450}).value();
  EXPECT_EQ(tried({}, to_two).status, 1);
  EXPECT_EQ(left(), Words{std::filesystem::path(path).filename()});
}

TEST_F(UplinkEnds, ABusThatItMadeStaysWhenItHasStarted) {
  connect(2);
  const std::string path = bus(1) + "new";
  Tool tool(inside(machine(1), {shmifctl_path(), "uplink", path, "--create", "--mtu", "1450",
                                "--vxlan", "42", "--remote", address(2)}));
  ASSERT_TRUE(tool.wait_for(": ready, as port ")) << tool.so_far().err;
  EXPECT_EQ(end(tool).status, 0);
  EXPECT_EQ(Bus::open(path).value().info().mtu, 1450);
}

/// Somebody waited for the bus, and has joined it meanwhile.
TEST_F(UplinkEnds, ABusThatItMadeStaysIfAnotherPortUsesIt) {
  connect(1);
  const std::string path = bus(1) + "new";
  make_program(bus(1) + "ssh", "while ! test -e " + path + ".go; do sleep 0.05; done; exit 255\n");
  std::filesystem::create_directory(bus(1) + "bin");
  std::filesystem::rename(bus(1) + "ssh", bus(1) + "bin/ssh");
  Tool tool({"env", "PATH=" + bus(1) + "bin:" + std::getenv("PATH"), shmifctl_path(), "uplink",
             path, "--create", "--ssh", "b:/none"});
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(path); }));
  Port port({.name = "other"});
  ASSERT_TRUE(port.attach(path));
  std::ofstream(path + ".go") << "";
  EXPECT_EQ(tool.finish().status, 1);
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_F(UplinkEnds, AnAddressThatThisMachineDoesNotHaveIsRefused) {
  connect(2);
  const ToolResult refused =
      asked({"--vxlan", "42", "--remote", address(2), "--local", "198.18.9.77"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.err.find("198.18.9.77 is no address of this machine"), std::string::npos)
      << refused.err;
}

TEST_F(UplinkEnds, ItselfIsNoOtherMachineByAnyOfItsAddresses) {
  connect(2);
  ASSERT_EQ(
      run_program(inside(machine(1), {"ip", "addr", "add", "198.18.8.1/24", "dev", "eth0"})).status,
      0);
  for (const Words& options :
       {Words{"--vxlan", "42", "--remote", "198.18.8.1"},
        Words{"--vxlan", "42", "--remote", "198.18.8.1", "--local", address(1)},
        Words{"--vxlan", "42", "--remote", address6(1)},
        Words{"--vxlan", "42", "--remote", "127.0.0.1"},
        Words{"--vxlan", "42", "--evpn", address(1), "--asn", "65000"}}) {
    const ToolResult refused = asked(options);
    EXPECT_EQ(refused.status, 2) << options[3] << refused.err;
    EXPECT_NE(refused.err.find("is this machine"), std::string::npos) << refused.err;
  }
}

}  // namespace
}  // namespace shmif::test
