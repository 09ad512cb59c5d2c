#pragma once
// A real sshd in one of the machines of tests/tools/uplink/machines.hpp.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/uplink/machines.hpp"

namespace shmif::test {

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
