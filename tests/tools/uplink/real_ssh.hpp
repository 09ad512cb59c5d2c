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

/// sshd in a machine of its own.
class RealSsh : public Machines {
 protected:
  void SetUp() override {
    Machines::SetUp();
    if (::access("/usr/sbin/sshd", X_OK) != 0) GTEST_SKIP() << "no sshd here";
  }
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
  /// What a client needs.
  std::vector<std::string> ssh_options() const {
    return {"IdentityFile=" + keys_.file("user"), "UserKnownHostsFile=" + keys_.file("known"),
            "IdentitiesOnly=yes", "StrictHostKeyChecking=yes"};
  }

 private:
  TempDir keys_{"/tmp"};
};

}  // namespace shmif::test
