// Real programs on hosts: captures, routing daemons, DHCP, and many hosts at once.

#include <fstream>

#include "tests/tools/exec_rig.hpp"

namespace shmif::test {
namespace {

/// What an ordinary user's PATH lacks.
const std::string kPath = "PATH=$PATH:/usr/sbin:/sbin:/usr/lib/frr; ";

using ExecPrograms = ExecRig;
INSTANTIATE_TEST_SUITE_P(Each, ExecPrograms, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecPrograms, TcpdumpCapturesWhatPasses) {
  if (!has_program("tcpdump")) GTEST_SKIP() << "no tcpdump here";
  const auto host =
      start("a", kPath + "exec tcpdump -nli tap0 -c 2 icmp", {"--ip", "198.18.0.1/24"});
  ASSERT_TRUE(host->wait_for("listening on tap0"));
  const ToolResult pinged =
      run_shell("ping -q -c 2 -i 0.2 -W 5 198.18.0.1", {"--ip", "198.18.0.2/24"});
  EXPECT_EQ(pinged.status, 0) << pinged.out;
  const ToolResult captured = host->finish();
  EXPECT_EQ(captured.status, 0) << captured.err;
  EXPECT_NE(captured.out.find("198.18.0.2 > 198.18.0.1: ICMP echo request"), std::string::npos)
      << captured.out;
}

TEST_P(ExecPrograms, ZebraStartsAndKnowsTheInterfaces) {
  if (!has_program("zebra")) GTEST_SKIP() << "no zebra here";
  const ToolResult shown = run_shell(
      kPath +
          "zebra -d > /run/zebra.txt 2>&1 || { cat /run/zebra.txt; exit 1; }; "
          "for i in $(seq 200); do vtysh -c 'show interface tap0' 2> /dev/null | grep -q inet && "
          "break; sleep 0.02; done; vtysh -c 'show interface tap0' 2> /dev/null",
      {"--ip", "198.18.0.1/24"});
  EXPECT_EQ(shown.status, 0) << shown.out << shown.err;
  EXPECT_NE(shown.out.find("inet 198.18.0.1/24"), std::string::npos) << shown.out;
}

class ExecDhcp : public ExecRig {
 protected:
  std::unique_ptr<Tool> start_server() const {
    auto server = start("dhcp",
                        kPath +
                            "exec dnsmasq --no-daemon --log-dhcp --port=0 --interface=tap0 "
                            "--bind-interfaces --no-resolv --no-hosts --conf-file=/dev/null "
                            "--dhcp-range=198.18.0.100,198.18.0.150,1h "
                            "--dhcp-option=option:dns-server,198.18.0.1",
                        {"--ip", "198.18.0.1/24"});
    EXPECT_TRUE(server->wait_for("DHCP, IP range"));
    return server;
  }
  static std::string resolv_conf() {
    std::ifstream file("/etc/resolv.conf");
    return {std::istreambuf_iterator<char>(file), {}};
  }
};
INSTANTIATE_TEST_SUITE_P(Each, ExecDhcp, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

constexpr const char* kShowLease =
    "; ip -4 -o addr show dev tap0; cat /etc/resolv.conf; ping -q -c 1 -W 5 198.18.0.1 && echo "
    "reached";

TEST_P(ExecDhcp, UdhcpcGetsAnAddressAndANameServerFromDnsmasq) {
  if (!has_program("dnsmasq") || !has_program("udhcpc")) GTEST_SKIP() << "no dnsmasq or udhcpc";
  const std::string before = resolv_conf();
  const auto server = start_server();
  const ToolResult leased = run_shell(kPath + "udhcpc -i tap0 -n -q -t 5 -T 2 2>&1" + kShowLease);
  EXPECT_NE(leased.out.find("inet 198.18.0.1"), std::string::npos) << leased.out << leased.err;
  EXPECT_NE(leased.out.find("nameserver 198.18.0.1"), std::string::npos) << leased.out;
  EXPECT_NE(leased.out.find("reached"), std::string::npos) << leased.out;
  EXPECT_EQ(resolv_conf(), before) << "the outer file is nobody's business in there";
}

TEST_P(ExecDhcp, DhclientGetsAnAddressAndANameServerFromDnsmasq) {
  if (!has_program("dnsmasq") || !has_program("dhclient")) GTEST_SKIP() << "no dnsmasq or dhclient";
  const std::string before = resolv_conf();
  const auto server = start_server();
  const ToolResult leased = run_shell(kPath + "dhclient -1 -v tap0 2>&1" + kShowLease);
  EXPECT_NE(leased.out.find("inet 198.18.0.1"), std::string::npos) << leased.out << leased.err;
  EXPECT_NE(leased.out.find("nameserver 198.18.0.1"), std::string::npos) << leased.out;
  EXPECT_NE(leased.out.find("reached"), std::string::npos) << leased.out;
  EXPECT_EQ(resolv_conf(), before) << "the outer file is nobody's business in there";
}

using ExecMany = ExecRig;
INSTANTIATE_TEST_SUITE_P(Each, ExecMany, ::testing::Values(exec_settings().back()),
                         [](const auto& each) { return each.param.name; });

// All network namespaces of a machine share one table of 1024 neighbours, which by itself lets go
// of an entry after 5 s at the earliest (net.ipv4.neigh.default.gc_thresh3; "neighbor table
// overflow" in the kernel's log). Fifty hosts need 2450 at once, so these forget theirs after each
// ping.
TEST_P(ExecMany, FiftyHostsAllPingOneAnother) {
  constexpr int kHosts = 50;
  constexpr std::chrono::seconds kLong{100};
  const std::string go = file("go");
  const std::string script =
      "while ! test -e " + go +
      "; do sleep 0.1; done; for i in $(seq 50); do tries=0; "
      "until ping -q -c 1 -W 2 198.18.0.$i > /dev/null 2>&1; do tries=$((tries+1)); "
      "test $tries -lt 30 || { echo no answer from $i; exit 1; }; ip neigh flush all; sleep 0.2; "
      "done; ip neigh flush all; done; "
      "echo reached all; while ! test -e " +
      go + ".home; do sleep 0.2; done";
  std::vector<std::unique_ptr<Tool>> hosts;
  for (int i = 1; i <= kHosts; ++i) {
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
  EXPECT_EQ(reached, kHosts);
  std::ofstream(go + ".home").close();
  for (const auto& host : hosts) EXPECT_EQ(host->finish().status, 0);
}

}  // namespace
}  // namespace shmif::test
