// What becomes of the bus of an uplink that cannot start, and of routers on the buses of two
// machines.

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/tools/shmifctl/exec_rig.hpp"
#include "tests/tools/uplink/ssh_rig.hpp"

namespace shmif::test {
namespace {

using UplinkEnds = Machines;

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

/// Also the files that a bus has beside it.
/// Also the files that a bus has beside it.
TEST_F(UplinkEnds, ABusThatItMadeGoesAwayIfItCannotStartAndStaysIfItDid) {
  connect(2);
  const auto one = uplink_to_all(1, 2);  // has the ID 42
  const std::string path = bus(1) + "new";
  const auto left = [&] {
    Words found;
    for (const auto& each :
         std::filesystem::directory_iterator(std::filesystem::path(path).parent_path())) {
      if (each.path().string().starts_with(path)) found.push_back(each.path().filename());
    }
    return found;
  };
  const auto tried = [&](const Words& before, const Words& options) {
    return run_program(inside(
        machine(1),
        before + Words{shmifctl_path(), "uplink", path, "--create", "--mtu", "1450"} + options));
  };
  const auto expect_nothing_left = [&](const ToolResult& refused, const std::string& why) {
    EXPECT_NE(refused.status, 0);
    EXPECT_TRUE(contains(refused.err, why));
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
  {
    Tool tool(inside(machine(1), Words{shmifctl_path(), "uplink", path, "--create", "--mtu", "1450",
                                       "--vxlan", "43", "--remote", address(2)}));
    ASSERT_TRUE(tool.wait_for(": ready, as port "));
    EXPECT_EQ(end(tool).status, 0);
    EXPECT_EQ(Bus::open(path).value().info().mtu, 1450);
    ASSERT_EQ(run_tool({"destroy", path}).status, 0);
  }
  // One that was there before stays.
  Bus::create(path, {.mtu = 1450}).value();
  EXPECT_EQ(tried({}, to_two).status, 1);
  EXPECT_EQ(left(), Words{std::filesystem::path(path).filename()});
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

}  // namespace
}  // namespace shmif::test
