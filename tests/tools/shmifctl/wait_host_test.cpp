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
  EXPECT_TRUE(contains(said.err, "the host \"a\", which had the address, has left the bus"));
  EXPECT_FALSE(contains(said.err, "within"));
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

TEST_P(WaitForHost, GoesOnIfTheAddressMayBeBehindABridge) {
  const auto host = start("a", "exec sleep 601", {"--ip", kAddress});
  Tool bridge(by_caller({shmifctl_path(), "bridge", "bus:" + bus(), "bus:" + bus("other")}));
  ASSERT_TRUE(eventually([&] { return ports_up(Bus::open(bus("other")).value().info()) == 1; }));
  const auto wait = wait_at("4");
  host->signal(SIGKILL);
  const ToolResult said = wait->finish();
  EXPECT_EQ(said.status, 1);
  EXPECT_TRUE(contains(said.err, "within 4 s: no host on the bus has the address"));
}

/// A wait of which only the bus tells when it has begun.
class WaitForPort : public WaitForHost {
 protected:
  std::unique_ptr<Tool> waiting(Words options) const {
    options.insert(options.begin(), {shmifctl_path(), "wait", bus()});
    return std::make_unique<Tool>(by_caller(std::move(options)));
  }
  /// It ended by itself, because a host has gone, not because the time was over.
  static void expect_gone(Tool& wait, const std::string& what, const std::string& why) {
    const ToolResult said = wait.finish();
    EXPECT_FALSE(said.timed_out);
    EXPECT_EQ(said.status, 1) << said.err;
    EXPECT_EQ(said.err.find("shmifctl: " + what), 0U) << said.err;
    EXPECT_TRUE(contains(said.err, ": " + why + " ("));
    EXPECT_FALSE(contains(said.err, "within"));
  }
};
INSTANTIATE_TEST_SUITE_P(Each, WaitForPort, ::testing::Values(exec_settings().front()),
                         [](const auto& each) { return each.param.name; });

constexpr const char* kEnded = "its host was on the bus, and has ended or left it";

TEST_P(WaitForPort, ThatIsUpEndsWhenItsHostEndsBeforeTheServiceIsThere) {
  const auto host = start("a", "exec sleep 601", {"--ip", kAddress});
  const auto wait = waiting({"--port", "a", "--tcp", "198.18.0.1:80", "--from", "198.18.0.250"});
  ASSERT_TRUE(eventually([&] {  // it asks, so it has seen the port
    const BusInfo info = Bus::open(bus()).value().info();
    return std::ranges::any_of(info.ports, [](const PortInfo& each) {
      return each.link == LinkKind::ping && each.tx_frames >= 6;
    });
  }));
  host->signal(SIGTERM);
  expect_gone(*wait, "cannot reach TCP service 198.18.0.1:80", kEnded);
}

TEST_P(WaitForPort, OfAProcessThatEndsEndsWithItThoughItNeverSawThePort) {
  Tool host(by_caller({"sleep", "601"}));
  const std::string pid = std::to_string(host.pid());
  const auto wait = waiting({"--port", "web", "--pid", pid});
  EXPECT_FALSE(wait->wait_for("anything", std::chrono::milliseconds(100))) << "it waits";
  host.signal(SIGKILL);  // and nobody asks for its status
  const std::string why = "process " + pid + ", which --pid names, has ended";
  expect_gone(*wait, "cannot see port \"web\" up on bus", why);
  host.finish();
  expect_gone(*waiting({"--port", "web", "--pid", pid}), "cannot see port \"web\"", why);
  expect_gone(*waiting({"--tcp", "198.18.0.1:80", "--from", "198.18.0.250", "--pid", pid}),
              "cannot reach TCP service 198.18.0.1:80", why);
  Tool none(
      by_caller({shmifctl_path(), "wait", file("none"), "--tcp", "198.18.0.1:80", "--pid", pid}));
  expect_gone(none, "cannot reach TCP service 198.18.0.1:80", why);
  const auto web = start("web", "exec sleep 601");
  EXPECT_EQ(waiting({"--port", "web", "--pid", pid})->finish().status, 0)
      << "what it waits for is there";
}

TEST_P(WaitForPort, OfAKilledHostGivesAnotherTheTimeToTakeTheName) {
  auto host = start("a", "exec sleep 601");
  host->signal(SIGKILL);
  host->finish();
  ASSERT_FALSE(port("a")) << "its row is still there, but nobody lives there";
  const auto with_pid = waiting({"--port", "a", "--pid", std::to_string(::getpid())});
  const auto wait = waiting({"--port", "a"});
  expect_gone(*wait, "cannot see port \"a\" up on bus",
              "the port's process is gone, and no other took the name");
  host = start("a", "exec sleep 601");
  EXPECT_EQ(with_pid->finish().status, 0) << "the process of --pid may still take it";
}

}  // namespace
}  // namespace shmif::test
