// Fifty hosts on one bus: all of them ping each other, and idle ones cost nothing.

#include <fstream>
#include <string>

#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

using ExecMany = ExecRig;
INSTANTIATE_TEST_SUITE_P(Each, ExecMany, ::testing::Values(exec_settings().back()),
                         [](const auto& each) { return each.param.name; });

// All network namespaces of a machine share one table of 1024 neighbours, which by itself lets go
// of an entry after 5 s at the earliest (net.ipv4.neigh.default.gc_thresh3; "neighbor table
// overflow" in the kernel's log). Fifty hosts need 2450 at once, so these forget theirs after each
// ping.
//
// On emulated CPUs, fifty hosts that look for one another at once get no answer within a minute.
TEST_P(ExecMany, FiftyHostsAllPingOneAnother) {
  const int hosts_wanted = kEmulated ? 10 : 50;
  constexpr std::chrono::seconds kLong{100};
  const std::string go = file("go");
  const std::string script =
      "while ! test -e " + go + "; do sleep 0.1; done; for i in $(seq " +
      std::to_string(hosts_wanted) +
      "); do tries=0; "
      "until ping -q -c 1 -W 2 198.18.0.$i > /dev/null 2>&1; do tries=$((tries+1)); "
      "test $tries -lt 30 || { echo no answer from $i; exit 1; }; ip neigh flush all; sleep 0.2; "
      "done; ip neigh flush all; done; "
      "echo reached all; while ! test -e " +
      go + ".home; do sleep 0.2; done";
  std::vector<std::unique_ptr<Tool>> hosts;
  for (int i = 1; i <= hosts_wanted; ++i) {
    const std::string number = std::to_string(i);
    hosts.push_back(start("h" + number, script, {"--ip", "198.18.0." + number + "/24"}));
  }
  std::ofstream(go).close();
  const auto end = std::chrono::steady_clock::now() + kLong;
  int reached = 0;
  for (const auto& host : hosts) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (host->wait_for("reached all", left)) ++reached;
  }
  EXPECT_EQ(reached, hosts_wanted);
  std::ofstream(go + ".home").close();
  for (const auto& host : hosts) EXPECT_EQ(host->finish().status, 0);
}

/// How often a process was given a CPU, all its threads counted: nothing that runs escapes it.
std::uint64_t times_run(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::uint64_t total = 0;
  for (std::string word; status >> word;) {
    std::uint64_t count = 0;
    if (word.find("ctxt_switches:") != std::string::npos && status >> count) total += count;
  }
  return total;
}

using ExecIdle = ExecRig;
INSTANTIATE_TEST_SUITE_P(Each, ExecIdle, ::testing::Values(exec_settings().back()),
                         [](const auto& each) { return each.param.name; });

// The kernels of fresh hosts report groups for some seconds, so the hosts are watched until they
// are quiet. They would solicit routers for hours, and each solicitation wakes all the others.
// Hosts that looked at their bus every 50 ms would run 40 times each in a window of two seconds,
// for ever.
TEST_P(ExecIdle, FiftyIdleHostsDoNotRun) {
  constexpr unsigned kHosts = 50;
  std::vector<std::unique_ptr<Tool>> hosts;
  for (unsigned i = 0; i < kHosts; ++i)
    hosts.push_back(start(
        "h" + std::to_string(i),
        "for each in /proc/sys/net/ipv6/conf/*/router_solicitations; do echo 0 > $each; done; "
        "exec sleep 100"));
  std::uint64_t runs = 0;
  for (int window = 0; window < 20; ++window) {
    std::uint64_t before = 0;
    for (const auto& host : hosts) before += times_run(host->pid());
    std::this_thread::sleep_for(std::chrono::seconds(2));
    runs = 0;
    for (const auto& host : hosts) runs += times_run(host->pid());
    ASSERT_GT(runs, 0U);
    runs -= before;
    if (runs < kHosts) break;
  }
  EXPECT_LT(runs, kHosts) << "in two seconds";
}

}  // namespace
}  // namespace shmif::test
