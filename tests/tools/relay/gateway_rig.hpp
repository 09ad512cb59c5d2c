#pragma once
// A world for tests of gateways: a network namespace with a web server and a name server.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/run_tool.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {

/// What an ordinary user's PATH lacks.
inline const std::string kPath = "PATH=$PATH:/usr/sbin:/sbin; ";
/// The world's one machine, with a name server that knows web.test, and a web server.
inline constexpr const char* kWorld = "198.18.9.1";
inline constexpr const char* kPage = "a page of the world\n";
inline constexpr const char* kLoopbackPage = "a page for this machine only\n";

inline std::vector<ExecSetting> callers() {
  if (::geteuid() != 0) return {{false, "veth", "Caller"}};
  return {{false, "veth", "Root"}, {true, "veth", "User"}};
}

/// The world: a network namespace that belongs to the caller.
class GatewayRig : public ExecRig {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(ExecRig::SetUp());
    if (IsSkipped()) return;
    for (const char* const name : {"busybox", "dnsmasq", "slirp4netns", "udhcpc"}) {
      if (!has_program(name)) GTEST_SKIP() << "no " << name << " here";
    }
    for (const char* const place : {"www", "local"}) {
      std::filesystem::create_directory(file(place));
      std::ofstream(file(place) + "/page") << (*place == 'w' ? kPage : kLoopbackPage);
    }
    std::ofstream(file("resolv.conf")) << "nameserver " << kWorld << '\n';
    const std::string network = std::string("ip link set lo up && ip address add ") + kWorld +
                                "/32 dev lo && ip address add 169.254.7.7/32 dev lo && ip address "
                                "add 127.0.0.53/32 dev lo && ip link add "
                                "out type veth peer name away && "
                                "ip address add 198.18.8.1/24 dev out && ip link set out up && "
                                "ip link set away up && ip route add default via 198.18.8.2 && ";
    world_ = std::make_unique<Tool>(
        by_caller({"unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c",
                   kPath + network + "mount --bind " + file("resolv.conf") +
                       " /etc/resolv.conf && echo made && exec sleep 300"}));
    ASSERT_TRUE(world_->wait_for("made"));
    serve("busybox httpd -f -p 80 -h " + file("www"));
    serve("busybox httpd -f -p 127.0.0.1:81 -h " + file("local"));
    serve(std::string("dnsmasq --no-daemon --user=root --group=root --no-resolv "
                      "--no-hosts --conf-file=/dev/null --bind-interfaces --listen-address=") +
          kWorld + " --listen-address=127.0.0.53 --address=/web.test/" + kWorld);
    bus();
  }

  Words in_world(const Words& words) const {
    return by_caller(Words{"nsenter", "--preserve-credentials", "--user", "--net", "--mount",
                           "--target", std::to_string(world_->pid())} +
                     words);
  }
  void serve(const std::string& command) {
    servers_.push_back(std::make_unique<Tool>(in_world({"sh", "-c", kPath + "exec " + command})));
  }
  /// A gateway in the world, once its port is up. `before`: words before the command.
  std::unique_ptr<Tool> gateway(const Words& more = {}, const Words& before = {}) const {
    auto tool =
        std::make_unique<Tool>(in_world(before + Words{shmifctl_path(), "gateway", bus()} + more));
    EXPECT_TRUE(tool->wait_for("connected, as port gateway"));
    EXPECT_TRUE(eventually([&] { return port("gateway") && port("gateway")->up; }));
    return tool;
  }
  /// Runs `script` on a host that has first asked for a lease.
  ToolResult with_lease(const std::string& script, const std::string& name = "one") const {
    return run_shell(
        kPath + "udhcpc -i tap0 -n -q -t 20 -T 1 > /dev/null 2>&1 || exit 9; " + script,
        {"--name", name});
  }
  /// Makes a program that a gateway with `PATH=bin` runs.
  void write_program(const std::string& name, const std::string& script) const {
    std::filesystem::create_directory(file("bin"));
    std::ofstream(file("bin/") + name) << "#!/bin/sh\n" << script;
    std::filesystem::permissions(file("bin/") + name, std::filesystem::perms::all);
  }
  std::string path_to_programs() const { return "PATH=" + file("bin"); }
  /// The programs that can lead to the world, as far as they are here.
  static Words programs() {
    Words all{"slirp4netns"};
    if (has_program("passt")) all.emplace_back("passt");
    return all;
  }
  /// The process that a gateway runs; 0: none.
  static pid_t child_of(const Tool& gateway) {
    const std::string pid = std::to_string(gateway.pid());
    std::ifstream file("/proc/" + pid + "/task/" + pid + "/children");
    pid_t child = 0;
    file >> child;
    return child;
  }
  static ToolResult end(Tool& tool) {
    tool.signal(SIGTERM);
    return tool.finish();
  }

 private:
  std::unique_ptr<Tool> world_;
  std::vector<std::unique_ptr<Tool>> servers_;
};

inline const std::string kFetch = "curl -sS --retry 9 --retry-all-errors -m 20 ";

}  // namespace shmif::test
