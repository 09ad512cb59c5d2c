// Uplinks whose machines find each other by FRR's EVPN.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/support/eventually.hpp"
#include "tests/tools/common/refusal.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"
#include "tests/tools/uplink/machines.hpp"

namespace shmif::test {
namespace {

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
