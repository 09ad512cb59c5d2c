// What engines say they can do, and what their ends count: of their own time only, and with drops.

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "perf/engine/device_wires.hpp"
#include "shmif/port.hpp"
#include "tests/perf/engine/engine_rig.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::perf::rig {
namespace {

using shmif::test::same_frames;

JobOptions counting_job(EngineKind kind) {
  JobOptions job;
  job.name = "counts";
  job.engine = kind;
  return job;
}

/// Empty, without an error, where this machine cannot have it; then `why` has the reason.
std::unique_ptr<Wire> wire_of(const JobOptions& job, std::size_t ends, std::string* why = nullptr) {
  auto made = make_wire(job, ends);
  if (made) return *std::move(made);
  const std::string& message = made.error().message;
  EXPECT_EQ(made.error().code, Errc::not_supported) << message;
  if (why != nullptr) *why = message.substr(message.find("\": ") + 3);
  return nullptr;
}

TEST(EngineCounts, OfAnEndThatIsOpenedAgainBeginAgain) {
  for (const auto& [kind, ends] :
       {std::pair(EngineKind::bus, 2), std::pair(EngineKind::tap, 2),
        std::pair(EngineKind::packet, 2), std::pair(EngineKind::packet, 3)}) {
    const auto wire = wire_of(counting_job(kind), static_cast<std::size_t>(ends));
    if (!wire) continue;
    for (const std::size_t round : {1U, 2U}) {
      SCOPED_TRACE(std::string(name_of(kind)) + " time " + std::to_string(round));
      const auto one = wire->open_end(end_options(0)).value();
      const auto other = wire->open_end(end_options(1)).value();
      const auto there = frames_to(1, 0, 10 / round, 200 * round);
      const auto back = frames_to(0, 1, 4 * round, 150 * round);
      (void)send_all(*one, there, *other);
      EXPECT_TRUE(same_frames(there, collect(*other, there.size())));
      (void)send_all(*other, back, *one);
      EXPECT_TRUE(same_frames(back, collect(*one, back.size())));
      const WireCounters counted = one->counters();
      EXPECT_EQ(counted.tx_frames, 10U / round);
      EXPECT_EQ(counted.tx_bytes, 2000U);
      EXPECT_EQ(counted.rx_frames, 4U * round);
      EXPECT_EQ(counted.rx_bytes, 600U * round * round);
      EXPECT_EQ(counted.dropped_frames.value_or(0), 0U);
    }
  }
}

TEST(EngineCounts, OfAPacketSocketThatDroppedAreOfWhatItGot) {
  for (const std::size_t ends : {2U, 3U}) {
    SCOPED_TRACE(ends);
    std::string why;
    const auto wire = wire_of(counting_job(EngineKind::packet), ends, &why);
    if (!wire) GTEST_SKIP() << why;
    const auto one = wire->open_end(end_options(0)).value();
    const auto other = wire->open_end(end_options(1)).value();
    const auto frames = frames_to(1, 0, 64, 1400);
    const auto out = shmif::test::views(frames);
    std::size_t sent = 0;
    for (int i = 0; i < 10'000 && other->counters().dropped_frames == 0U; ++i) {
      const SendResult r = one->send(out);
      ASSERT_FALSE(r.error) << r.error.message();
      sent += r.taken;
      if (r.taken == 0) one->wait_to_send(std::chrono::milliseconds(1));
    }
    std::size_t got = 0;
    WireCounters at_one;
    WireCounters at_other;
    // A busy kernel delivers some of them only later.
    (void)shmif::test::eventually([&] {
      got += arrived(*other).size();
      at_one = one->counters();
      at_other = other->counters();
      return at_other.rx_frames == got &&
             got + at_one.dropped_frames.value_or(0) + at_other.dropped_frames.value_or(0) == sent;
    });
    EXPECT_GT(at_other.dropped_frames, 0U);
    EXPECT_EQ(at_one.tx_frames, sent);
    EXPECT_EQ(at_other.rx_frames, got) << "what was dropped was not received";
    EXPECT_EQ(got + at_one.dropped_frames.value() + at_other.dropped_frames.value(), sent);
    EXPECT_FALSE(at_other.rx_bytes) << "nobody knows how long those were that it dropped";
  }
}

}  // namespace
}  // namespace shmif::perf::rig
