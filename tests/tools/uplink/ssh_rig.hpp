#pragma once
// Uplinks over ssh for tests: with a stand-in for ssh, which runs the command on this machine, and
// with the real thing.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/eventually.hpp"
#include "tests/tools/uplink/machines.hpp"

namespace shmif::test {

inline void make_program(const std::string& path, const std::string& text) {
  std::ofstream(path) << "#!/bin/sh\n" << text;
  ::chmod(path.c_str(), 0755);
}

class UplinkSsh : public ::testing::Test {
 protected:
  void SetUp() override {
    Bus::create(near_, {}).value();
    std::filesystem::create_directory(file("bin"));
    ssh_is("for last; do :; done\nexec sh -c \"$last\"\n");
  }
  std::string file(const std::string& name) const { return directory_.file(name); }
  /// What the uplink finds as ssh.
  void ssh_is(const std::string& script) const { make_program(file("bin/ssh"), script); }
  std::vector<std::string> line(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{
        "env",           "PATH=" + file("bin") + ":" + std::getenv("PATH"),
        shmifctl_path(), "uplink",
        near_,           "--ssh",
        "b:" + far_,     "--far-program",
        shmifctl_path()};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  std::unique_ptr<Tool> connected(const std::vector<std::string>& more = {}) const {
    auto tool = std::make_unique<Tool>(line(more));
    EXPECT_TRUE(tool->wait_for("connected to ")) << tool->so_far().out << tool->so_far().err;
    wait_for_port(near_);
    wait_for_port(far_);
    return tool;
  }
  static void wait_for_port(const std::string& bus) {
    EXPECT_TRUE(eventually([&] {
      const auto ports = Bus::open(bus).value().info().ports;
      return std::ranges::any_of(
          ports, [](const PortInfo& p) { return p.live && p.up && p.name == "uplink"; });
    }));
  }
  pid_t far_process() const {
    for (const PortInfo& port : Bus::open(far_).value().info().ports) {
      if (port.live && port.name == "uplink") return port.pid;
    }
    return 0;
  }

  TempDir directory_;
  const std::string near_ = directory_.file("near");
  const std::string far_ = directory_.file("far");
};

/// sshd in a machine of its own.
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
    EXPECT_TRUE(tool->wait_for("Server listening")) << tool->so_far().err;
    return tool;
  }
  std::vector<std::string> line(unsigned n, unsigned other,
                                const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{shmifctl_path(),
                                   "uplink",
                                   bus(n),
                                   "--ssh",
                                   "root@" + address(other) + ":" + bus(other),
                                   "--far-program",
                                   shmifctl_path()};
    for (const std::string& option :
         {"IdentityFile=" + keys_.file("user"), "UserKnownHostsFile=" + keys_.file("known"),
          std::string("IdentitiesOnly=yes"), std::string("StrictHostKeyChecking=yes")})
      words.insert(words.end(), {"--ssh-option", option});
    words.insert(words.end(), more.begin(), more.end());
    return inside(machine(n), words);
  }
  TempDir keys_{"/tmp"};
};
class UplinkRealSsh : public SshMachines {
 protected:
  void SetUp() override {
    Machines::SetUp();
    if (!has_sshd()) GTEST_SKIP() << "no sshd here";
  }
};

}  // namespace shmif::test
