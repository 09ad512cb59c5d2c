// shmifctl wait --tcp, when the host that it asks leaves the bus.

#include <algorithm>
#include <csignal>
#include <fstream>

#include "tests/support/temp_bus.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

constexpr const char* kAddress = "198.18.0.1/24";

class WaitForHost : public ExecRig {
 protected:
  /// Waits for a service that nobody offers yet. Returns when it has asked the host "a" for it.
  std::unique_ptr<Tool> wait_at(const std::string& timeout) const {
    auto wait =
        std::make_unique<Tool>(by_caller({shmifctl_path(), "wait", bus(), "--tcp", "198.18.0.1:80",
                                          "--from", "198.18.0.250", "--timeout", timeout}));
    // A question for the address, and further ones for the service.
    EXPECT_TRUE(eventually([&] {
      const BusInfo info = Bus::open(bus()).value().info();
      return std::ranges::any_of(info.ports, [](const PortInfo& each) {
        return each.link == LinkKind::ping && each.tx_frames >= 6;
      });
    }));
    return wait;
  }
};
INSTANTIATE_TEST_SUITE_P(Each, WaitForHost, ::testing::Values(exec_settings().front()),
                         [](const auto& each) { return each.param.name; });

TEST_P(WaitForHost, ThatHasLeftTheBusEndsAndNamesIt) {
  const auto host = start("a", "exec sleep 601", {"--ip", kAddress});
  Tool bridge(by_caller({shmifctl_path(), "bridge", "bus:" + bus(), "bus:" + bus("other")}));
  ASSERT_TRUE(eventually([&] { return ports_up(Bus::open(bus("other")).value().info()) == 1; }));
  const auto wait = wait_at("60");
  bridge.signal(SIGKILL);  // its port stays in the table, but no address is behind it any more
  bridge.finish();
  host->signal(SIGKILL);
  const ToolResult said = wait->finish();
  EXPECT_EQ(said.status, 1);
  EXPECT_NE(said.err.find("the host \"a\", which had the address, has left the bus"),
            std::string::npos)
      << said.err;
  EXPECT_EQ(said.err.find("within"), std::string::npos) << said.err;
}

TEST_P(WaitForHost, GoesOnWithAnotherHostThatHasTheAddress) {
  if (!has_program("busybox")) GTEST_SKIP() << "no busybox here";
  const auto host = start("a", "exec sleep 601", {"--ip", kAddress});
  const auto other = start("b", "PATH=$PATH:/usr/sbin:/sbin; until [ -e " + file("go") +
                                    " ]; do sleep 0.02; done; ip address add " + kAddress +
                                    " dev tap0 && echo taken; until [ -e " + file("serve") +
                                    " ]; do sleep 0.02; done; exec busybox httpd -f -p 80 -h /usr");
  const auto wait = wait_at("60");
  std::ofstream(file("go")).close();
  ASSERT_TRUE(other->wait_for("taken"));
  host->signal(SIGKILL);
  host->finish();
  std::ofstream(file("serve")).close();
  const ToolResult said = wait->finish();
  EXPECT_EQ(said.status, 0) << said.err;
}

TEST_P(WaitForHost, ThatTookTheAddressOfAnotherIsTheOneThatIsNamed) {
  const auto host = start("a", "exec sleep 601", {"--ip", kAddress});
  const auto other = start("b", "PATH=$PATH:/usr/sbin:/sbin; until [ -e " + file("go") +
                                    " ]; do sleep 0.02; done; ip address add " + kAddress +
                                    " dev tap0 && echo taken; exec sleep 601");
  const auto wait = wait_at("60");
  std::ofstream(file("go")).close();
  ASSERT_TRUE(other->wait_for("taken"));
  host->signal(SIGKILL);
  host->finish();
  const std::uint64_t before = port("b")->tx_frames;
  // It answers the question for the address, and refuses the service again and again.
  EXPECT_TRUE(eventually([&] { return port("b")->tx_frames >= before + 6; }));
  other->signal(SIGKILL);
  const ToolResult said = wait->finish();
  EXPECT_EQ(said.status, 1);
  EXPECT_NE(said.err.find("the host \"b\", which had the address, has left the bus"),
            std::string::npos)
      << said.err;
}

TEST_P(WaitForHost, GoesOnIfTheAddressMayBeBehindABridge) {
  const auto host = start("a", "exec sleep 601", {"--ip", kAddress});
  Tool bridge(by_caller({shmifctl_path(), "bridge", "bus:" + bus(), "bus:" + bus("other")}));
  ASSERT_TRUE(eventually([&] { return ports_up(Bus::open(bus("other")).value().info()) == 1; }));
  const auto wait = wait_at("4");
  host->signal(SIGKILL);
  const ToolResult said = wait->finish();
  EXPECT_EQ(said.status, 1);
  EXPECT_NE(said.err.find("within 4 s: no host on the bus has the address"), std::string::npos)
      << said.err;
}

}  // namespace
}  // namespace shmif::test
