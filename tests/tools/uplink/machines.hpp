#pragma once
// Machines for tests of uplinks: network namespaces on a kernel bridge, with a bus each. Hosts join
// a bus by exec, so they see nothing of the machines' network.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "shmif/bus.hpp"
#include "tap/tap_link.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tap/test_namespace.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {

/// Why such tests cannot run here; empty if they can.
inline std::string no_machines_because() {
  if (std::string why = tap::test::no_namespaces_because(); !why.empty()) return why;
  if (const auto tun = tap::check_tun_device(); !tun) return tun.error().message;
  if (run_program(
          {"unshare", "-n", "ip", "link", "add", "type", "vxlan", "id", "5", "dstport", "4789"})
          .status != 0)
    return "no VXLAN here";
  return {};
}

class Machines : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = no_machines_because(); !why.empty()) GTEST_SKIP() << why;
  }

  /// Connects `count` machines. Machine n has the addresses 198.18.9.n and fd00:9::n.
  void connect(unsigned count, std::uint32_t bus_mtu = 1450) {
    tap::Netlink middle = switch_.netlink();
    middle.add_bridge("lan", MacAddress::random()).value();
    middle.set_up("lan").value();
    for (unsigned n = 1; n <= count; ++n) {
      const auto& machine = machines_.emplace_back(std::make_unique<tap::test::TestNamespace>());
      plug_in(n);
      machine->netlink().add_address("eth0", tap::Cidr::parse(address6(n) + "/64").value()).value();
      Bus::create(bus(n), {.mtu = bus_mtu}).value();
    }
  }
  /// Gives machine n an interface with its IPv4 address.
  void plug_in(unsigned n) const {
    tap::Netlink outside = switch_.netlink();
    const tap::NetNamespace space = machine(n).space();
    outside.add_veth(cable(n), "eth0", &space).value();
    outside.add_to_bridge(cable(n), "lan").value();
    outside.set_up(cable(n)).value();
    tap::Netlink there = machine(n).netlink();
    there.add_address("eth0", tap::Cidr::parse(address(n) + "/24").value()).value();
    there.set_up("eth0").value();
    there.wait_for_carrier("eth0", std::chrono::seconds(60)).value();
  }
  static std::string address(unsigned n) { return "198.18.9." + std::to_string(n); }
  static std::string address6(unsigned n) { return "fd00:9::" + std::to_string(n); }
  static std::string cable(unsigned n) { return "cable" + std::to_string(n); }
  std::string bus(unsigned n) const { return directory_.file("bus" + std::to_string(n)); }
  const tap::test::TestNamespace& machine(unsigned n) const { return *machines_.at(n - 1); }

  static std::string path_of(const tap::test::TestNamespace& space) {
    return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(space.descriptor());
  }
  static Words inside(const tap::test::TestNamespace& space, const Words& words) {
    return Words{"nsenter", "--net=" + path_of(space)} + words;
  }

  /// Starts an uplink of machine n, and waits until it is ready.
  std::unique_ptr<Tool> uplink(unsigned n, const Words& options) const {
    auto tool = std::make_unique<Tool>(
        inside(machine(n), Words{shmifctl_path(), "uplink", bus(n)} + options));
    EXPECT_TRUE(tool->wait_for(": ready, as port "));
    return tool;
  }
  /// One with static peers: all other machines of `count`.
  std::unique_ptr<Tool> uplink_to_all(unsigned n, unsigned count,
                                      const std::string& id = "42") const {
    Words options{"--vxlan", id};
    for (unsigned other = 1; other <= count; ++other) {
      if (other != n) options.insert(options.end(), {"--remote", address(other)});
    }
    return uplink(n, options);
  }

  /// One of machine n whose BGP peers are all others of `count`.
  std::unique_ptr<Tool> uplink_by_evpn(unsigned n, unsigned count, const Words& more = {}) const {
    Words options{"--vxlan", "42", "--asn", "65000"};
    for (unsigned other = 1; other <= count; ++other) {
      if (other != n) options.insert(options.end(), {"--evpn", address(other)});
    }
    return uplink(n, options + more);
  }

  /// Starts a host on the bus of machine n, with the address 198.18.0.`host`, and waits until its
  /// port is up.
  std::unique_ptr<Tool> host(unsigned n, unsigned number, const std::string& script) const {
    const std::string name = "h" + std::to_string(number);
    auto tool =
        std::make_unique<Tool>(Words{shmifctl_path(), "exec", bus(n), "--name", name, "--ip",
                                     host_address(number) + "/24", "--", "sh", "-c", script});
    const ToolResult waited = run_tool({"wait", bus(n), "--port", name, "--timeout", "100"});
    EXPECT_EQ(waited.status, 0) << waited.err;
    return tool;
  }
  static std::string host_address(unsigned number) { return "198.18.0." + std::to_string(number); }
  /// Runs a script on a host to its end.
  ToolResult on_host(unsigned n, unsigned number, const std::string& script) const {
    return run_program({shmifctl_path(), "exec", bus(n), "--name", "h" + std::to_string(number),
                        "--ip", host_address(number) + "/24", "--", "sh", "-c", script});
  }
  /// Whether a host reaches another one: asks several times, because routes come late.
  bool reaches(unsigned n, unsigned number, unsigned other) const {
    return on_host(n, number,
                   "for i in $(seq 300); do ping -q -c 1 -W 0.3 " + host_address(other) +
                       " && exit 0; done; exit 1")
               .status == 0;
  }
  /// Runs an uplink of machine 1 to its end.
  ToolResult asked(const Words& options) const {
    return run_program(inside(machine(1), Words{shmifctl_path(), "uplink", bus(1)} + options));
  }
  static ToolResult end(Tool& tool) {
    tool.signal(SIGTERM);
    return tool.finish();
  }

  const tap::test::TestNamespace& middle() const { return switch_; }

 private:
  TempDir directory_;
  tap::test::TestNamespace switch_;
  std::vector<std::unique_ptr<tap::test::TestNamespace>> machines_;
};

// A real sshd in one of the machines of tests/tools/uplink/machines.hpp.

/// Machines, of which one can run sshd.
class SshMachines : public Machines {
 protected:
  static bool has_sshd() { return ::access("/usr/sbin/sshd", X_OK) == 0; }
  std::unique_ptr<Tool> sshd(unsigned n) const {
    const std::string folder = keys_.path();
    for (const char* const key : {"/host", "/user"})
      EXPECT_EQ(
          run_program({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder + key}).status,
          0);
    std::filesystem::copy_file(folder + "/user.pub", folder + "/authorized");
    std::ofstream(folder + "/sshd_config")
        << "ListenAddress " << address(n) << "\nHostKey " << folder << "/host\nAuthorizedKeysFile "
        << folder << "/authorized\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n"
        << "PasswordAuthentication no\nPidFile none\n";
    std::ofstream(folder + "/known")
        << address(n) << ' ' << std::ifstream(folder + "/host.pub").rdbuf();
    auto tool = std::make_unique<Tool>(
        inside(machine(n), {"unshare", "-m", "sh", "-c",
                            "mount -t tmpfs none /run && mkdir -m 755 /run/sshd && "
                            "exec /usr/sbin/sshd -D -e -f " +
                                folder + "/sshd_config"}));
    EXPECT_TRUE(tool->wait_for("Server listening"));
    return tool;
  }
  /// What a client needs.
  Words ssh_options() const {
    return {"IdentityFile=" + keys_.file("user"), "UserKnownHostsFile=" + keys_.file("known"),
            "IdentitiesOnly=yes", "StrictHostKeyChecking=yes"};
  }

  /// An uplink of machine n to another one.
  Words line(unsigned n, unsigned other, const Words& more = {}) const {
    Words words{shmifctl_path(),
                "uplink",
                bus(n),
                "--ssh",
                "root@" + address(other) + ":" + bus(other),
                "--far-program",
                shmifctl_path()};
    for (const std::string& option : ssh_options())
      words.insert(words.end(), {"--ssh-option", option});
    return inside(machine(n), words + more);
  }

 private:
  TempDir keys_{"/tmp"};
};

/// Tests that cannot run without it.
class RealSsh : public SshMachines {
 protected:
  void SetUp() override {
    Machines::SetUp();
    if (!has_sshd()) GTEST_SKIP() << "no sshd here";
  }
};

}  // namespace shmif::test
