// shmifctl exec: a host on several buses. What is asked of one interface, and what happens to it,
// is not its neighbour's.

#include <signal.h>

#include <filesystem>
#include <fstream>

#include "tap/guest/neighbours.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

constexpr const char* kFindsIp = "PATH=$PATH:/sbin:/usr/sbin; ";

class ExecBuses : public ExecRig {
 protected:
  static std::optional<PortInfo> port_on(const std::string& path, const std::string& name) {
    const Result<Bus> opened = Bus::open(path);
    if (!opened) return std::nullopt;
    for (const PortInfo& each : opened->info().ports) {
      if (each.live && each.name == name) return each;
    }
    return std::nullopt;
  }
};
INSTANTIATE_TEST_SUITE_P(Each, ExecBuses, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecBuses, OptionsAreOfTheBusBeforeThem) {
  const std::string far = bus("far");
  for (const bool first_hears_all : {false, true}) {
    Words options{"--mac", "02:00:00:00:00:01", "--ifname", "left"};
    if (first_hears_all) options.emplace_back("--promisc");
    options.insert(options.end(), {"--bus", far, "--name", "b", "--mac", "02:00:00:00:00:02",
                                   "--ifname", "right"});
    if (!first_hears_all) options.emplace_back("--promisc");
    const auto host = start("a",
                            "cat /sys/class/net/left/address /sys/class/net/right/address; echo "
                            "ready; exec sleep 600",
                            options);
    ASSERT_TRUE(host->wait_for("02:00:00:00:00:01\n02:00:00:00:00:02\nready"));
    ASSERT_TRUE(eventually([&] { return port_on(far, "b").has_value(); }));
    EXPECT_EQ(port("a")->mac.to_string(), "02:00:00:00:00:01");
    EXPECT_EQ(port_on(far, "b")->mac.to_string(), "02:00:00:00:00:02");
    EXPECT_EQ(port("a")->promiscuous, first_hears_all);
    EXPECT_EQ(port_on(far, "b")->promiscuous, !first_hears_all);
    host->signal(SIGTERM);
    host->finish();
  }
}

TEST_P(ExecBuses, AnInterfaceThatGoesDownAndUpAgainShowsOnItsOwnPortOnly) {
  if (!has_program("ip")) GTEST_SKIP() << "no ip here";
  const std::string far = bus("far");
  const std::string go = file("go");
  ASSERT_EQ(::mkfifo(go.c_str(), 0666), 0);
  ASSERT_EQ(::chmod(go.c_str(), 0666), 0);
  const auto host = start(
      "a", std::string(kFindsIp) + "while read state; do ip link set tap1 $state; done <> " + go,
      {"--bus", far, "--name", "b", "--promisc"});
  ASSERT_TRUE(eventually([&] { return port("a")->carrier && port_on(far, "b")->carrier; }));
  for (const bool up : {false, true, false, true}) {
    std::ofstream(go) << (up ? "up\n" : "down\n");
    EXPECT_TRUE(eventually([&] { return port_on(far, "b")->carrier == up; })) << up;
    EXPECT_TRUE(port_on(far, "b")->promiscuous) << "as it was asked for";
    EXPECT_TRUE(port("a")->carrier);
    EXPECT_FALSE(port("a")->promiscuous);
  }
}

/// Who announces that address on the bus of the port, within half a minute.
std::optional<MacAddress> announcer_of(const std::string& address, Port& ear) {
  std::optional<MacAddress> owner;
  tap::AddressClaim claim({tap::Cidr::parse(address).value()},
                          [&](const tap::IpAddress&, MacAddress mac) {
                            owner = mac;
                            return true;
                          });
  static_cast<void>(eventually([&] {
    FrameBatch batch;
    static_cast<void>(ear.receive(batch));
    for (const FrameView& frame : batch.frames()) claim.look(frame, ear.mac());
    return owner.has_value();
  }));
  return owner;
}

void announce_as(Port& port, const std::string& address) {
  tap::AddressClaim({tap::Cidr::parse(address).value()}, {}).announce(port);
}

TEST_P(ExecBuses, AnAddressIsAnnouncedOnItsOwnBusAndAnotherHostThereThatHasItIsNamed) {
  const std::string far = bus("far");
  Port near_ear = shmif::test::port_on(bus(), {.name = "ear"});
  Port far_ear = shmif::test::port_on(far, {.name = "ear"});
  const auto host =
      start("a", "exec sleep 600",
            {"--ip", "198.18.0.1/24", "--bus", far, "--name", "b", "--ip", "198.18.1.1/24"});
  EXPECT_EQ(announcer_of("198.18.0.1/24", near_ear), port("a")->mac);
  EXPECT_EQ(announcer_of("198.18.1.1/24", far_ear), port_on(far, "b")->mac);
  announce_as(far_ear, "198.18.0.1/24");  // an address of the other bus
  announce_as(near_ear, "198.18.1.1/24");
  announce_as(far_ear, "198.18.1.1/24");
  EXPECT_TRUE(host->wait_for("exec: another host on " + far + " has the address 198.18.1.1, too: " +
                             far_ear.mac().to_string() + " (port \"ear\"); "));
  announce_as(near_ear, "198.18.0.1/24");
  EXPECT_TRUE(host->wait_for("exec: another host on " + bus() +
                             " has the address 198.18.0.1, too: " + near_ear.mac().to_string() +
                             " (port \"ear\"); "));
  host->signal(SIGTERM);
  EXPECT_EQ(times_in(host->finish().err, "another host"), 2U);
}

// The bus is looked for once a second.
using ExecLostBus = ExecBuses;
INSTANTIATE_TEST_SUITE_P(Each, ExecLostBus, ::testing::Values(exec_settings().front()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecLostBus, OfOneInterfaceIsFoundAgainEachTimeAndTheOtherGoesOn) {
  const std::string far = bus("far");
  const auto host = start(
      "a",
      "n=0; while :; do for to in 198.18.0.9 198.18.1.9; do ping -c 1 -W 0.1 $to; done > /dev/null "
      "2>&1; "
      "now=$(cat /sys/class/net/tap0/carrier)$(cat /sys/class/net/tap1/carrier); "
      "if [ \"$now\" != \"$last\" ]; then n=$((n + 1)); last=$now; "
      "test $now != 10 || ip link set tap1 promisc on; echo \"change $n: $now.\"; "
      "fi; sleep 0.02; done",
      {"--ip", "198.18.0.1/24", "--bus", far, "--name", "b", "--ip", "198.18.1.1/24"});
  ASSERT_TRUE(host->wait_for("change 1: 11."));
  for (int round = 0; round < 2; ++round) {
    const std::string out = "change " + std::to_string(2 * round + 2) + ": 10.";
    const std::string in = "change " + std::to_string(2 * round + 3) + ": 11.";
    std::filesystem::resize_file(far, 0);
    EXPECT_TRUE(host->wait_for(out));
    std::filesystem::remove(far);
    {
      // One that the interface was not made for: another MTU, or no super-frames.
      BusOptions unfit;
      unfit.mtu = round == 0 ? 9000 : 1500;
      unfit.ring_bytes = round == 0 ? 1U << 20U : 64U << 10U;
      Bus::create(far, unfit).value();
      std::this_thread::sleep_for(std::chrono::milliseconds(1300));
      EXPECT_FALSE(port_on(far, "b"));
      std::filesystem::remove(far);
    }
    (void)bus("far");
    EXPECT_TRUE(host->wait_for(in));
    EXPECT_TRUE(eventually([&] {
      const auto found = port_on(far, "b");
      return found && found->up && found->carrier && found->promiscuous;
    })) << round;
    EXPECT_TRUE(port("a")->carrier);
  }
  // Who is alone on the bridge then is not taken for who was there before.
  std::filesystem::resize_file(bus(), 0);
  EXPECT_TRUE(host->wait_for("change 6: 01."));
  std::filesystem::resize_file(far, 0);
  EXPECT_TRUE(host->wait_for("change 7: 00."));
  host->signal(SIGTERM);
  const std::string said = host->finish().err;
  const std::string lost = "bus:" + far + " is gone: ";
  const std::string until =
      "; the program goes on without it, and tap1 has no carrier until there is a bus at that path "
      "again\n";
  const std::size_t gone = said.find(lost);
  EXPECT_NE(gone, std::string::npos) << said;
  EXPECT_NE(said.find(until, gone), std::string::npos) << said;
  const std::string again = "there is a bus at " + far + " again, and tap1 has carrier";
  const std::size_t first = said.find(again);
  EXPECT_NE(first, std::string::npos) << said;
  EXPECT_NE(said.find(again, first + 1), std::string::npos) << said;
}

}  // namespace
}  // namespace shmif::test
