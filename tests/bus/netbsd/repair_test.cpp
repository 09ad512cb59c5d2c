// What a bus of the NetBSD format tells of itself, what an audit finds, and what a repair keeps.

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tests/bus/netbsd/rig.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

class NetbsdInspected : public testing::Test {
 protected:
  BusInfo info() const { return Bus::open(bus_.path()).value().info(); }
  AuditReport audit() const { return Bus::open(bus_.path()).value().audit(); }
  void send(std::uint64_t count, std::size_t size = 100) {
    for (std::uint64_t i = 0; i < count; ++i) peer_.send(frame_of(kEverybody, i, size));
  }
  void put(std::uint32_t offset, std::uint32_t value) {
    std::memcpy(peer_.data() + offset, &value, sizeof value);
  }
  bool was_rung() const {
    pollfd entry{peer_.descriptor(), POLLIN, 0};
    return poll(&entry, 1, 0) == 1;
  }

  NetbsdBus bus_;
  NetbsdPeer peer_{bus_.path()};
};

TEST_F(NetbsdInspected, ANewBusTellsThatNobodyHasRungYet) {
  const BusInfo told = info();
  ASSERT_TRUE(told.netbsd);
  EXPECT_EQ(told.netbsd->version, 0U);
  EXPECT_EQ(told.netbsd->frames_in_ring, 0U) << "0, and not unknown";
  EXPECT_EQ(told.netbsd->bytes_in_ring, 0U);
  EXPECT_EQ(told.max_record_bytes, 1514U);
  const AuditReport report = audit();
  EXPECT_TRUE(is_clean(report));
  EXPECT_EQ(report.frames, 0U);
  EXPECT_EQ(report.pads, 1U);
  EXPECT_EQ(report.records, 1U);
}

TEST_F(NetbsdInspected, TellsThatTheLockIsHeldAndThenNotWhatIsInTheRing) {
  send(3);
  peer_.set_generation(5);
  for (const std::uint32_t lock : {1U, 2U}) {
    peer_.set_word(24, lock);
    const BusInfo told = info();
    ASSERT_TRUE(told.netbsd);
    EXPECT_TRUE(told.netbsd->lock_is_held) << lock;
    EXPECT_EQ(told.netbsd->frames_in_ring, std::nullopt);
    EXPECT_EQ(told.netbsd->bytes_in_ring, std::nullopt);
    EXPECT_EQ(told.generation, 5U);
    EXPECT_EQ(told.netbsd->last_offset, 24U + 2 * 124);
  }
  peer_.set_word(24, 0);
  EXPECT_FALSE(info().netbsd->lock_is_held);
}

TEST_F(NetbsdInspected, AuditFindsALastThatNoHeaderLeadsTo) {
  send(5);
  const std::uint32_t last = 24 + 4 * 124;
  put(last + 24 + 20, 124 - 24 - 20 - 24);  // within the newest frame, and it ends where that ends
  peer_.set_word(20, last + 24 + 20);
  const AuditReport report = audit();
  ASSERT_EQ(report.findings.size(), 1U);
  EXPECT_EQ(report.findings[0].invariant, "N3");
  EXPECT_EQ(report.findings[0].what,
            "the headers do not lead to the header at offset " + std::to_string(last + 44));
  const RepairReport done = Bus::repair(bus_.path(), {}).value();
  EXPECT_TRUE(done.ring_rebuilt);
  EXPECT_TRUE(is_clean(audit()));
}

// A flat-out sender overwrites the oldest headers while they are looked at.
TEST_F(NetbsdInspected, AuditBesideABusySenderFindsNothing) {
  Port port = port_on(bus_.path());
  std::atomic<bool> done{false};
  std::thread sender([&] {
    const Octets frame = frame_of(kEverybody, 1, 60);
    const std::vector<FrameView> batch(32, view_of(frame));
    while (!done) static_cast<void>(port.send(batch));
  });
  unsigned known = 0;
  for (unsigned i = 0; i < 200; ++i) {
    const AuditReport report = audit();
    known += report.is_known ? 1 : 0;
    for (const AuditFinding& finding : report.findings) ADD_FAILURE() << finding.what;
  }
  done = true;
  sender.join();
  EXPECT_GT(known, 0U);
  EXPECT_TRUE(is_clean(audit()));
}

// What the ancestor's own reader ends at.
TEST_F(NetbsdInspected, RepairAndAuditFindTheSameAndKernelsReadTheRest) {
  NetbsdPeer kernel(bus_.path(), 5);
  const auto is_mended = [&](std::uint64_t frames) {
    EXPECT_FALSE(audit().clean());
    const RepairReport done = Bus::repair(bus_.path(), {}).value();
    EXPECT_TRUE(done.ring_rebuilt);
    EXPECT_EQ(done.frames_kept, frames);
    EXPECT_TRUE(is_clean(audit()));
    EXPECT_EQ(peer_.first(), NetbsdPeer::kData) << "the first round is not over";
    peer_.send(frame_of(kEverybody, 100));
    std::uint64_t read = 0;
    while (kernel.receive()) ++read;
    EXPECT_EQ(read, frames + 1);
  };
  send(60);
  put(24 + 2 * 124, 1U << 19U);  // a length that leads behind the newest frame
  ASSERT_EQ(audit().findings.size(), 1U);
  EXPECT_EQ(audit().findings[0].invariant, "N3");
  put(24 + 2 * 124, 41 * 124 - 24);  // a length that leads to a header
  is_mended(2);
  send(3);
  peer_.set_word(20, peer_.first());
  is_mended(0);
}

TEST_F(NetbsdInspected, RepairOfASoundBusKeepsAllAndWakesAll) {
  send(1500, 1000);
  const std::uint64_t frames = *info().netbsd->frames_in_ring;
  const std::uint64_t generation = peer_.generation();
  while (was_rung()) peer_.wait();
  const RepairReport done = Bus::repair(bus_.path(), {}).value();
  EXPECT_FALSE(done.ring_rebuilt);
  EXPECT_FALSE(done.lock_released);
  EXPECT_EQ(done.frames_kept, frames);
  EXPECT_EQ(done.epoch, generation);
  EXPECT_EQ(peer_.generation(), generation);
  EXPECT_TRUE(was_rung());
}

// A kernel moves `last` first, and raises the generation at the end. The frame here wraps.
TEST_F(NetbsdInspected, ForcedRepairDropsOnlyTheFrameThatWasBeingWritten) {
  struct Killed {};
  for (const auto step : {NetbsdPeer::locked, NetbsdPeer::moved_last, NetbsdPeer::wrote_header,
                          NetbsdPeer::wrote_half, NetbsdPeer::wrote_all}) {
    const std::uint64_t round = peer_.generation();
    const auto is_near_the_end = [&] {
      return peer_.generation() > round && peer_.last() > NetbsdPeer::kData - 2 * 1024 &&
             peer_.last() + 1024 < NetbsdPeer::kData;
    };
    while (!is_near_the_end()) send(1, 1000);
    Port port = port_on(bus_.path());
    const std::uint64_t frames = *info().netbsd->frames_in_ring;
    try {
      peer_.send(frame_of(kEverybody, 1, 1400), [step](NetbsdPeer::Step at) {
        if (at == step) throw Killed();
      });
    } catch (const Killed&) {
    }
    const RepairReport done = Bus::repair(bus_.path(), {.force = true}).value();
    EXPECT_TRUE(done.lock_released);
    EXPECT_GE(done.frames_kept + 4, frames) << step;
    EXPECT_TRUE(is_clean(audit()));
    // Nothing that the port had not read was overwritten.
    EXPECT_EQ(receive_all(port).size(), done.frames_kept);
    EXPECT_EQ(port.counters().overruns + port.counters().lost_bytes, 0U);
    while (peer_.receive()) {
    }
  }
}

}  // namespace
}  // namespace shmif::test
