// No descriptor of the library reaches a program that its user runs. These tests try everything
// that opens descriptors, except two things: tests/process/descriptor_test.cpp tries each means
// that wakes a port, and tests/perf/engine/engine_media_test.cpp tries the wires of shmifperf.

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "shmif/fault_link.hpp"
#include "shmif/loopback_link.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/namespaces.hpp"
#include "tap/packet_link.hpp"
#include "tap/tap_link.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::tap::test {
namespace {

using shmif::test::handed_on;
using shmif::test::TempBus;

TEST(HandedOn, ADescriptorWithoutTheFlagIsSeen) {
  const auto before = handed_on();
  const UniqueFd without(::open("/dev/zero", O_RDONLY));  // NOLINT(android-cloexec-open)
  auto expected = before;
  expected.insert(std::to_string(without.get()) + " -> /dev/zero");
  EXPECT_EQ(handed_on(), expected);
}

TEST(HandedOn, NothingOfABus) {
  const TempBus bus;
  const auto before = handed_on();
  const Bus read = Bus::open(bus.path()).value();
  const Bus written = Bus::open(bus.path(), Access::read_write).value();
  const Bus made = Bus::create_if_missing(bus.file("made"), {}, false, false).value();
  Port port = shmif::test::port_on(bus.path());
  Port of_bus;
  ASSERT_TRUE(of_bus.attach(written));
  Follower follower = Follower::open(bus.path(), Start::now).value();
  ASSERT_GE(port.descriptor(), 0);
  ASSERT_GE(of_bus.descriptor(), 0);
  ASSERT_GE(follower.descriptor(), 0);
  EXPECT_EQ(handed_on(), before);
}

TEST(HandedOn, NothingOfLinksWithoutADevice) {
  const TempBus bus;
  const std::string capture = bus.file("capture");
  const auto before = handed_on();
  auto pair = LoopbackLink::pair().value();
  const FaultOptions late{.delay = std::chrono::seconds(1)};
  FaultLink fault =
      FaultLink::wrap(AnyLink(std::make_unique<LoopbackLink>(std::move(pair.first))), late, late)
          .value();
  ASSERT_GE(fault.descriptor(), 0);
  PcapWriter writer = PcapWriter::create(capture).value();
  ASSERT_GE(writer.descriptor(), 0);
  PcapngWriter annotated = PcapngWriter::create(bus.file("annotated")).value();
  ASSERT_GE(annotated.descriptor(), 0);
  const auto frame = shmif::test::make_frame(60, 1);
  const FrameView view(frame.data(), frame.size());
  ASSERT_EQ(writer.send({&view, 1}).taken, 1U);
  ASSERT_FALSE(writer.flush());
  PcapReader reader = PcapReader::open(capture, {.speed = 1}).value();
  ASSERT_GE(reader.descriptor(), 0);
  AnyLink left(std::make_unique<LoopbackLink>(LoopbackLink::self().value()));
  AnyLink right(std::make_unique<LoopbackLink>(LoopbackLink::self().value()));
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(left, right));
  EXPECT_EQ(handed_on(), before);
}

TEST(HandedOn, NothingOfNamespacesAndDevices) {
  if (const std::string why = no_namespaces_because(); !why.empty()) GTEST_SKIP() << why;
  if (const auto tun = check_tun_device(); !tun) GTEST_SKIP() << tun.error().message;
  const auto before = handed_on();
  const NetNamespace space = NetNamespace::create().value();
  const NetNamespace here = NetNamespace::current().value();
  const NetNamespaceWatch process = NetNamespaceWatch::open(std::to_string(::getpid())).value();
  const NetNamespaceWatch path = NetNamespaceWatch::open("/proc/self/ns/net").value();
  ASSERT_GE(process.descriptor(), 0);
  ASSERT_GE(path.descriptor(), 0);
  Netlink netlink = Netlink::open(space).value();
  Netlink own = Netlink::open().value();
  ASSERT_TRUE(netlink.add_veth("v0", "v1"));
  TapOptions options;
  options.name = "tap0";
  options.where = &space;
  const std::vector<TapLink> queues = TapLink::open_queues(options, 2).value();
  options.name = "tap1";
  options.offload = true;
  const TapLink tap = TapLink::open(options).value();
  const PacketLink packet = PacketLink::open("v0", {.where = &space}).value();
  EXPECT_EQ(handed_on(), before);
}

TEST(HandedOn, NothingOfDevicesInTheNamespaceOfTheCaller) {
  if (const std::string why = no_namespaces_because(); !why.empty()) GTEST_SKIP() << why;
  if (const auto tun = check_tun_device(); !tun) GTEST_SKIP() << tun.error().message;
  const TestNamespace own;
  const Inside inside(own);
  const auto before = handed_on();
  TapOptions options;
  options.name = "tap0";
  const TapLink tap = TapLink::open(options).value();
  const PacketLink packet = PacketLink::open("tap0").value();
  EXPECT_EQ(handed_on(), before);
}

}  // namespace
}  // namespace shmif::tap::test
