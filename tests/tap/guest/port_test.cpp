// GuestPort: an interface of a guest on a bus, and on the one that takes its place.

#include "tap/guest/port.hpp"

#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/loopback_link.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tap/guest/watch_rig.hpp"
#include "tests/tap/tap_rig.hpp"

namespace shmif::tap::test {
namespace {

class GuestPortTest : public TapFixture {
 protected:
  /// The port "a" as others see it.
  PortInfo seen() const {
    for (const PortInfo& each : Bus::open(path_).value().info().ports) {
      if (each.name == "a" && each.live) return each;
    }
    return {};
  }

  /// A TAP device that was handed over, as the link of a guest.
  GuestLink handed_tap() {
    return {.interface = "handed",
            .kind = LinkKind::tap,
            .descriptor = handed(IFF_TAP | IFF_NO_PI),
            .mac = kFirst,
            .mtu = 1500};
  }
  /// A port "a" with that link, up on a new bus.
  GuestPort attached(const BusOptions& options = {.ring_bytes = 1U << 16U}) {
    Bus::create(path_, options).value();
    link_ = handed_tap();
    GuestPort port = GuestPort::attach(link_, Bus::open(path_).value(), {.name = "a"}).value();
    port.up().value();
    return port;
  }

  GuestLink link_;
  const shmif::test::TempDir directory_;
  const std::string path_ = directory_.file("bus");
};

TEST_F(GuestPortTest, ShowsOnANewBusWhatChangedWhileItHadNone) {
  GuestPort port = attached();
  port.show({.mtu = 1500, .mac = kFirst});
  EXPECT_EQ(seen().mac, kFirst);
  EXPECT_FALSE(seen().promiscuous);
  EXPECT_TRUE(port.unplug(Errc::bus_lost));
  std::filesystem::remove(path_);
  const GuestInterfaceState meanwhile{.promiscuous = true, .mtu = 1400, .mac = kSecond};
  port.show(meanwhile);
  EXPECT_FALSE(port.attach_again()) << "there is no bus yet";
  Bus::create(path_, {.ring_bytes = 1U << 16U}).value();
  EXPECT_TRUE(port.attach_again());
  EXPECT_TRUE(port.is_plugged());
  EXPECT_EQ(seen().mac, kSecond);
  EXPECT_TRUE(seen().promiscuous);
  EXPECT_TRUE(seen().up);
  EXPECT_EQ(port.mtu_of(port.device()), 1400U);
}

// Its interface was made for the first bus.
TEST_F(GuestPortTest, TakesNoBusThatDiffersFromTheFirst) {
  const BusOptions first{.ring_bytes = 1U << 16U};
  GuestPort port = attached(first);
  EXPECT_TRUE(port.unplug(Errc::bus_lost));
  ASSERT_FALSE(first.carries_offloads());
  BusOptions other = first;
  other.mtu = 1400;
  BusOptions larger = first;
  larger.ring_bytes = 4U << 20U;
  ASSERT_TRUE(larger.carries_offloads());
  for (const auto& [options, fits] :
       {std::pair(other, false), std::pair(larger, false), std::pair(first, true)}) {
    std::filesystem::remove(path_);
    Bus::create(path_, options).value();
    EXPECT_EQ(port.attach_again(), fits) << options.mtu;
    EXPECT_EQ(port.waits_for_bus(), !fits);
    EXPECT_EQ(seen().up, fits);
  }
}

TEST_F(GuestPortTest, HearsAllOnEachBusWhereThatWasAskedForAndKnowsTheMtuOfBothSides) {
  Bus::create(path_, {.ring_bytes = 1U << 16U, .mtu = 1600}).value();
  GuestLink link = handed_tap();
  PortOptions options{.name = "a"};
  options.promiscuous = true;
  GuestPort port = GuestPort::attach(link, Bus::open(path_).value(), options).value();
  EXPECT_EQ(port.interface(), "handed");
  EXPECT_EQ(port.mtu_of(port.bus()), 1600U);
  EXPECT_EQ(port.mtu_of(port.device()), 1500U);
  auto other = LoopbackLink::self().value();
  EXPECT_EQ(port.mtu_of(AnyLink(std::make_unique<LoopbackLink>(std::move(other)))), std::nullopt);
  port.up().value();
  port.show({.carrier = false, .mtu = 1450, .mac = kFirst});
  EXPECT_TRUE(seen().promiscuous);
  EXPECT_FALSE(seen().carrier);
  EXPECT_EQ(port.mtu_of(port.device()), 1450U);
  EXPECT_EQ(port.mtu_of(port.bus()), 1600U);
  EXPECT_TRUE(port.unplug(Errc::bus_lost));
  EXPECT_FALSE(port.is_plugged());
  EXPECT_FALSE(seen().up);
  std::filesystem::remove(path_);
  Bus::create(path_, {.ring_bytes = 1U << 16U, .mtu = 1600}).value();
  EXPECT_TRUE(port.attach_again());
  EXPECT_FALSE(port.waits_for_bus());
  EXPECT_TRUE(seen().promiscuous);
  EXPECT_FALSE(seen().carrier) << "as it was told last";
}

TEST_F(GuestPortTest, WaitsForABusOnlyWhereThatWasLost) {
  GuestPort port = attached();
  EXPECT_FALSE(port.waits_for_bus());
  EXPECT_TRUE(port.unplug(Errc::bus_lost));
  EXPECT_TRUE(port.waits_for_bus());
  EXPECT_FALSE(port.unplug(Errc::corrupt)) << "the bus is there, and may be repaired";
  EXPECT_FALSE(port.waits_for_bus());
  EXPECT_FALSE(port.is_plugged());
}

TEST_F(GuestPortTest, GivesItsInterfaceCarrierAgainOnANewBus) {
  const BusOptions options{.ring_bytes = 1U << 16U};
  GuestPort port = attached(options);
  Netlink netlink = space_.netlink();
  ASSERT_TRUE(netlink.set_up("handed"));
  const auto has_carrier = [&](bool on) {
    return shmif::test::eventually(
        [&] { return netlink.interface("handed")->has_carrier() == on; });
  };
  EXPECT_TRUE(has_carrier(true));
  EXPECT_TRUE(port.unplug(Errc::bus_lost));
  EXPECT_FALSE(seen().up);
  ASSERT_FALSE(port.set_carrier(false));
  EXPECT_TRUE(has_carrier(false));
  std::filesystem::remove(path_);
  Bus::create(path_, options).value();
  EXPECT_TRUE(port.attach_again());
  EXPECT_TRUE(has_carrier(true));
}

/// Whether the interface "handed" of the namespace has the address of this text.
bool has_address(const TestNamespace& space, const std::string& address) {
  const shmif::test::ToolResult shown = shmif::test::run_program(
      {"nsenter",
       "--net=/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(space.descriptor()),
       "ip", "address", "show", "dev", "handed"});
  return shown.out.find(address) != std::string::npos;
}

// The kernel removes IPv6 addresses when an interface goes down, but not when a cable is pulled.
TEST_F(GuestPortTest,
       AnInterfaceWhoseLinkGoesAndComesKeepsItsAddressesAndLosesOnlyWhatCameMeanwhile) {
  GuestPort port = attached();
  Netlink netlink = space_.netlink();
  ASSERT_TRUE(netlink.add_address("handed", Cidr::parse("fd00::1/64").value()));
  ASSERT_TRUE(netlink.set_up("handed"));
  const auto has_carrier = [&](bool on) {
    return shmif::test::eventually(
        [&] { return netlink.interface("handed")->has_carrier() == on; });
  };
  ASSERT_TRUE(has_carrier(true));
  ASSERT_TRUE(has_address(space_, "fd00::1/64"));
  EXPECT_FALSE(port.set_link(false));
  EXPECT_FALSE(seen().carrier) << "at once, before the kernel tells of it";
  port.show({.carrier = true, .mtu = 1500});
  EXPECT_FALSE(seen().carrier) << "news from before the change";
  EXPECT_TRUE(has_carrier(false));
  EXPECT_TRUE(has_address(space_, "fd00::1/64"));
  Port other = shmif::test::port_on(path_);
  const shmif::test::Bytes frame = shmif::test::make_frame(100, 1);
  const auto send = [&] { EXPECT_EQ(other.send(FrameView(frame.data(), frame.size())).taken, 1U); };
  send();
  FrameBatch batch;
  EXPECT_EQ(port.bus().receive(batch).frames, 0U);
  EXPECT_EQ(port.line().counters().cut_received, 1U);
  EXPECT_FALSE(port.set_link(true));
  EXPECT_TRUE(has_carrier(true));
  EXPECT_TRUE(has_address(space_, "fd00::1/64"));
  send();
  EXPECT_EQ(port.bus().receive(batch).frames, 1U);
}

TEST_F(GuestPortTest, ALinkThatWasCutStaysCutOnANewBusAndFaultsStayToo) {
  const BusOptions options{.ring_bytes = 1U << 16U};
  GuestPort port = attached(options);
  Netlink netlink = space_.netlink();
  ASSERT_TRUE(netlink.set_up("handed"));
  ASSERT_TRUE(port.line().set_faults(parse_line_faults("in:drop=1").value()));
  EXPECT_FALSE(port.set_link(false));
  EXPECT_TRUE(port.unplug(Errc::bus_lost));
  EXPECT_FALSE(port.set_link(true)) << "there is no bus";
  EXPECT_FALSE(netlink.interface("handed")->has_carrier());
  EXPECT_FALSE(port.set_link(false));
  std::filesystem::remove(path_);
  Bus::create(path_, options).value();
  EXPECT_TRUE(port.attach_again());
  EXPECT_FALSE(netlink.interface("handed")->has_carrier());
  EXPECT_FALSE(port.set_link(true));
  EXPECT_TRUE(shmif::test::eventually([&] { return netlink.interface("handed")->has_carrier(); }));
  Port other = shmif::test::port_on(path_);
  const std::vector<shmif::test::Bytes> frames{shmif::test::make_frame(100, 1),
                                               shmif::test::make_frame(100, 2)};
  EXPECT_EQ(other.send(shmif::test::views(frames)).taken, 2U);
  EXPECT_TRUE(shmif::test::same_frames({frames[1]}, shmif::test::collect(port.bus(), 1)));
}

}  // namespace
}  // namespace shmif::tap::test
