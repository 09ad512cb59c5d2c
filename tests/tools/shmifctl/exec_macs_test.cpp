// The addresses for which a host hears frames without ever sending from them.

#include <string>

#include "shmif/port.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

const MacAddress kFirst = *MacAddress::parse("02:00:00:00:00:01");
const MacAddress kSecond = *MacAddress::parse("02:00:00:00:00:02");
const MacAddress kUnlisted = *MacAddress::parse("02:00:00:00:00:99");

/// A host "h", and a port that sends to it.
class ExecMacs : public ExecRig {
 protected:
  void SetUp() override {
    ExecRig::SetUp();
    if (IsSkipped()) return;
    if (!has_program("bridge")) GTEST_SKIP() << "no ip here";
    host_ = start("h", "exec sleep 1000");
    ASSERT_TRUE(sender_.attach(bus()));
    ASSERT_FALSE(sender_.up());
  }

  /// Runs a command in the host.
  void change(const std::string& script) const {
    const ToolResult done =
        run_program(by_caller({shmifctl_path(), "enter", bus(), "h", "--", "sh", "-c", script}));
    EXPECT_EQ(done.status, 0) << script << ": " << done.err;
  }

  /// Whether the host's port delivers frames to `mac` in the end.
  bool becomes(MacAddress mac, bool heard) {
    return eventually([&] { return hears(mac) == heard; });
  }
  /// The host's own frames are far fewer than these.
  bool hears(MacAddress mac) {
    constexpr std::size_t kRounds = 6;
    constexpr std::uint64_t kFrames = kRounds * NumberedBatch::kMax;
    const PortInfo before = port("h").value();
    NumberedBatch frames(100);
    for (std::size_t i = 0; i < kRounds; ++i)
      EXPECT_FALSE(sender_.send(frames.make(1, 0, NumberedBatch::kMax, mac)).error);
    PortInfo after = before;
    EXPECT_TRUE(eventually([&] {
      after = port("h").value();
      return after.rx_frames + after.filtered_frames >=
             before.rx_frames + before.filtered_frames + kFrames;
    }));
    return after.rx_frames - before.rx_frames >= kFrames;
  }

  /// The same with frames of VLAN 101.
  bool hears_tagged(MacAddress mac) {
    constexpr std::size_t kFrames = 300;
    std::vector<Bytes> tagged;
    for (std::size_t i = 0; i < kFrames; ++i) {
      tagged.push_back(make_frame(100, i, 1));
      std::memcpy(tagged.back().data(), mac.bytes.data(), mac.bytes.size());
    }
    const PortInfo before = port("h").value();
    EXPECT_EQ(sender_.send(views(tagged)).taken, kFrames);
    PortInfo after = before;
    EXPECT_TRUE(eventually([&] {
      after = port("h").value();
      return after.rx_frames + after.filtered_frames >=
             before.rx_frames + before.filtered_frames + kFrames;
    }));
    return after.rx_frames - before.rx_frames >= kFrames;
  }

  std::unique_ptr<Tool> host_;
  Port sender_{{.name = "sender"}};
};
INSTANTIATE_TEST_SUITE_P(Each, ExecMacs, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecMacs, AHostHearsForItsMacvlansAndForTheListOfItsInterface) {
  EXPECT_FALSE(hears(kFirst));
  change("bridge fdb add 02:00:00:00:00:01 dev tap0 self");
  EXPECT_TRUE(becomes(kFirst, true));
  EXPECT_FALSE(hears(kUnlisted));
  EXPECT_FALSE(port("h")->promiscuous) << "it hears no more than a card would";
  change("bridge fdb del 02:00:00:00:00:01 dev tap0 self");
  EXPECT_TRUE(becomes(kFirst, false));
  const ToolResult made = run_program(
      by_caller({shmifctl_path(), "enter", bus(), "h", "--", "ip", "link", "add", "sub0", "link",
                 "tap0", "address", kSecond.to_string(), "type", "macvlan"}));
  if (made.status != 0) GTEST_SKIP() << "no macvlan here: " << made.err;
  change("echo 1 > /proc/sys/net/ipv6/conf/sub0/disable_ipv6; ip link set sub0 up");
  EXPECT_TRUE(becomes(kSecond, true));
  EXPECT_FALSE(hears(kUnlisted));
  change("ip link del sub0");
  EXPECT_TRUE(becomes(kSecond, false));
}

const std::string kIpv6Off =
    "for each in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $each; done; ";

// The kernel puts the address of a VLAN that has one of its own on the same list (when it opens the
// device, in net/8021q/vlan_dev.c). Without IPv6, such an interface sends nothing by which a port
// would learn its address.
TEST_P(ExecMacs, AHostHearsTaggedFramesForTheListOfItsInterfaceAlsoWithoutIpv6) {
  change(kIpv6Off);
  EXPECT_FALSE(hears_tagged(kFirst));
  change("bridge fdb add 02:00:00:00:00:01 dev tap0 self");
  EXPECT_TRUE(eventually([&] { return hears_tagged(kFirst); }));
  EXPECT_FALSE(hears_tagged(kUnlisted));
  change("bridge fdb del 02:00:00:00:00:01 dev tap0 self");
  EXPECT_TRUE(eventually([&] { return !hears_tagged(kFirst); }));
}

TEST_P(ExecMacs, AHostThatChangesItsAddressHearsForTheNewOneAndShowsIt) {
  const MacAddress before = port("h")->mac;
  EXPECT_TRUE(hears(before));
  change("ip link set tap0 address 02:00:00:00:00:01");
  EXPECT_TRUE(becomes(kFirst, true));
  EXPECT_TRUE(becomes(before, false));
  EXPECT_EQ(port("h")->mac, kFirst);
  change("ip link set tap0 address " + sender_.mac().to_string());
  EXPECT_TRUE(becomes(kFirst, true)) << "the new one belongs to another port";
  change("ip link set tap0 address 02:00:00:00:00:02");
  EXPECT_TRUE(becomes(kSecond, true));
  EXPECT_TRUE(becomes(kFirst, false));
  EXPECT_EQ(port("h")->mac, kSecond);
}

}  // namespace
}  // namespace shmif::test
