// examples/cni/shmif, the CNI plugin: what it ends, and what it releases.

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/child_process.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

constexpr const char* kPort = "c0ffeec0ffee-eth0";

class CniPlugin : public testing::Test {
 protected:
  /// With a plugin "leases" that notes what it is told to do.
  CniPlugin() {
    const std::string leases = bus_.file("leases");
    std::ofstream(leases) << "#!/bin/sh\necho $CNI_COMMAND >> " << bus_.file("told")
                          << "\necho '{}'\n";
    std::filesystem::permissions(leases, std::filesystem::perms::owner_all);
  }

  ToolResult call(const std::string& command, const std::string& tool = shmifctl_path()) const {
    const std::string folder = std::filesystem::path(bus_.path()).parent_path();
    return run_program({"env", "CNI_COMMAND=" + command, "CNI_PATH=" + folder, "CNI_IFNAME=eth0",
                        "CNI_CONTAINERID=c0ffeec0ffee0123", "CNI_NETNS=", SHMIF_PYTHON,
                        SHMIF_SOURCE "/examples/cni/shmif"},
                       R"({"cniVersion": "0.4.0", "name": "lan", "type": "shmif", "bus": ")" +
                           bus_.path() + R"(", "shmifctl": ")" + tool +
                           R"(", "ipam": {"type": "leases"}})");
  }
  /// How often a lease was released.
  std::size_t releases() const {
    std::ostringstream text;
    text << std::ifstream(bus_.file("told")).rdbuf();
    return times_in(text.str(), "DEL\n");
  }
  /// A process with the port that the plugin looks for.
  std::unique_ptr<Tool> start() const {
    auto tool = std::make_unique<Tool>(
        std::vector<std::string>{shmifctl_path(), "dump", bus_.path(), "--name", kPort});
    EXPECT_TRUE(eventually([&] { return ports_up(bus_.info()) == 1; }));
    return tool;
  }

  TempBus bus_;
};

TEST_F(CniPlugin, DelEndsTheProcessOfThePortAndReleasesTheLeaseEachTime) {
  const auto tap = start();
  EXPECT_EQ(call("CHECK").status, 0);
  EXPECT_EQ(call("DEL").status, 0);
  EXPECT_NE(tap->finish().status, -1);
  EXPECT_EQ(ports_up(bus_.info()), 0U);
  EXPECT_EQ(releases(), 1U);
  EXPECT_EQ(call("CHECK").status, 1);
  EXPECT_EQ(call("DEL").status, 0);
  EXPECT_EQ(releases(), 2U);
  std::filesystem::remove(bus_.path());
  EXPECT_EQ(call("DEL").status, 0) << "the bus is gone, too";
  EXPECT_EQ(releases(), 3U);
  call("DEL", bus_.file("no-such-program"));
  EXPECT_EQ(releases(), 4U);
}

TEST_F(CniPlugin, DelReleasesTheLeaseAndEndsNoOtherProcessThatTheRowNames) {
  const auto tap = start();
  const StayingChild bystander([] { return true; });
  const RawBus raw(bus_.path());
  raw.slot(0).pid = static_cast<std::uint32_t>(bystander.pid());
  const ToolResult said = call("DEL");
  EXPECT_EQ(said.status, 0) << said.out;
  EXPECT_NE(said.err.find("does not use this bus"), std::string::npos) << said.err;
  EXPECT_EQ(releases(), 1U);
  EXPECT_EQ(::kill(bystander.pid(), 0), 0);
  siginfo_t ended{};
  ASSERT_EQ(
      ::waitid(P_PID, static_cast<id_t>(bystander.pid()), &ended, WEXITED | WNOHANG | WNOWAIT), 0);
  EXPECT_EQ(ended.si_pid, 0) << "no signal has ended it";
}

TEST_F(CniPlugin, OfADeadPortAnswersNoCheckAndSignalsNobody) {
  {
    const auto tap = start();
    tap->signal(SIGKILL);
    tap->finish();
  }
  const StayingChild bystander([] { return true; });
  const RawBus raw(bus_.path());
  raw.slot(0).pid = static_cast<std::uint32_t>(bystander.pid());
  EXPECT_EQ(call("CHECK").status, 1);
  EXPECT_EQ(call("DEL").status, 0);
  EXPECT_EQ(releases(), 1U);
  siginfo_t ended{};
  ASSERT_EQ(
      ::waitid(P_PID, static_cast<id_t>(bystander.pid()), &ended, WEXITED | WNOHANG | WNOWAIT), 0);
  EXPECT_EQ(ended.si_pid, 0) << "no signal has ended it";
}

}  // namespace
}  // namespace shmif::test
