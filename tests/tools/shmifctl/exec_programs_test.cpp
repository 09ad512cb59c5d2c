// Real programs on hosts: captures, routing daemons, DHCP.

#include <fstream>

#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

/// What an ordinary user's PATH lacks.
const std::string kPath = "PATH=$PATH:/usr/sbin:/sbin:/usr/lib/frr; ";

using ExecPrograms = ExecRig;
INSTANTIATE_TEST_SUITE_P(Each, ExecPrograms, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecPrograms, ZebraStartsAndKnowsTheInterfaces) {
  if (!has_program("zebra")) GTEST_SKIP() << "no zebra here";
  const ToolResult shown = run_shell(
      kPath +
          "zebra -d > /run/zebra.txt 2>&1 || { cat /run/zebra.txt; exit 1; }; "
          "for i in $(seq 200); do vtysh -c 'show interface tap0' 2> /dev/null | grep -q inet && "
          "break; sleep 0.02; done; vtysh -c 'show interface tap0' 2> /dev/null",
      {"--ip", "198.18.0.1/24"});
  EXPECT_EQ(shown.status, 0) << shown.out << shown.err;
  EXPECT_TRUE(contains(shown.out, "inet 198.18.0.1/24"));
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
    "; ip -4 -o addr show dev tap0; cat /etc/resolv.conf; ping -q -c 1 -W 60 198.18.0.1 && echo "
    "reached";

TEST_P(ExecDhcp, ClientsGetAnAddressAndANameServerFromDnsmasq) {
  if (!has_program("dnsmasq")) GTEST_SKIP() << "no dnsmasq here";
  const std::string before = resolv_conf();
  const auto server = start_server();
  for (const auto& [program, line] : {std::pair{"udhcpc", "udhcpc -i tap0 -n -q -t 60 -T 2"},
                                      {"dhclient", "dhclient -1 -v tap0"}}) {
    if (!has_program(program)) GTEST_SKIP() << "no " << program << " here";
    const ToolResult leased = run_shell(kPath + line + " 2>&1" + kShowLease);
    EXPECT_TRUE(contains(leased.out, "inet 198.18.0.1")) << leased.err;
    EXPECT_TRUE(contains(leased.out, "nameserver 198.18.0.1"));
    EXPECT_TRUE(contains(leased.out, "reached"));
    EXPECT_EQ(resolv_conf(), before) << "the outer file is nobody's business in there";
  }
}

}  // namespace
}  // namespace shmif::test
