// Processes that do not agree on what time it is: in time namespaces that are days apart, with a
// wall clock that is stepped back and forth, and stopped for long, as by a suspend. No time of one
// process decides anything in another, so nothing changes but the times that are shown.

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <thread>

#include "bus/port/doorbell.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "shmif/receiver.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/own_namespaces.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

/// What CLOCK_REALTIME is ahead of the machine's, in all processes forked from here.
std::atomic<std::int64_t>& wall_clock_step_s() {
  static const Shared<std::atomic<std::int64_t>> step;
  return *step;
}

}  // namespace
}  // namespace shmif::test

// Of the library and the standard library, too. The machine's clock stays as it is.
extern "C" int clock_gettime(clockid_t id, timespec* t) noexcept {
  const long result = syscall(SYS_clock_gettime, id, t);
  if (result == 0 && id == CLOCK_REALTIME) t->tv_sec += shmif::test::wall_clock_step_s().load();
  return static_cast<int>(result);
}

namespace shmif::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

/// Waits for the next frame, whose number must be the one after `latest`. Result: false when it did
/// not come for long.
bool hear_next(Port& port, FrameBatch& heard, std::int64_t& latest) {
  const Clock::time_point end = Clock::now() + seconds(30);
  while (Clock::now() < end) {
    heard.clear();
    if (port.receive(heard).error) return false;
    for (const FrameView& frame : heard.frames()) {
      const auto n = check_numbered(frame);
      if (!n || static_cast<std::int64_t>(n->sequence) <= latest) return false;
      latest = n->sequence;
    }
    if (!heard.empty()) return true;
    port.wait(seconds(30));
  }
  return false;
}

/// Throws a ball back and forth: each waits for the other's frame and answers it. Now and then
/// nothing happens for so long that both sleep deep.
int play(
    const std::string& path, unsigned player, unsigned rounds, std::atomic<unsigned>& ready,
    const std::function<void()>& between = [] {}) {
  Port port = port_on(path, {.name = "player" + std::to_string(player)});
  NumberedBatch frames(60);
  FrameBatch heard;
  std::int64_t latest = -1;
  ++ready;
  while (ready < 2) std::this_thread::sleep_for(milliseconds(1));
  for (std::uint32_t i = 0; i < rounds; ++i) {
    if (player == 1 && !hear_next(port, heard, latest)) return 1;
    if (player == 0 && i % (rounds / 2) == rounds / 4)
      std::this_thread::sleep_for(4 * bus::kIdleUntilDeep);
    between();
    if (port.send(frames.make(player, i, 1)).error) return 2;
    if (player == 0 && !hear_next(port, heard, latest)) return 3;
    if (latest != i) return 4;
  }
  if (port.wait(milliseconds(20))) return 5;  // a short time out ends, too
  const PortCounters counters = port.counters();
  return counters.lost_frames == 0 && counters.rx_frames == rounds ? 0 : 6;
}

constexpr unsigned kExchanges = 400;

class TimeNamespaces : public ::testing::TestWithParam<std::pair<bool, bool>> {
 protected:
  void SetUp() override {
    if (!has_time_namespaces()) GTEST_SKIP() << "no time namespaces here";
  }
  static std::int64_t shift(bool ahead) { return ahead ? 10 * kDay : furthest_back(); }
  std::int64_t one() const { return shift(GetParam().first); }
  std::int64_t other() const { return shift(GetParam().second); }

  TempBus bus{small_ring()};
};

INSTANTIATE_TEST_SUITE_P(Clocks, TimeNamespaces,
                         ::testing::Values(std::pair{true, false}, std::pair{false, true}),
                         [](const auto& each) {
                           return each.param.first ? "AheadAndBehind" : "BehindAndAhead";
                         });

TEST_P(TimeNamespaces, FramesWaitsAndDeepSleepCareForNoClockButTheirOwn) {
  const Shared<std::atomic<unsigned>> ready;
  Child first = child_in_time(one(), [&] { return play(bus.path(), 0, kExchanges, *ready); });
  Child second = child_in_time(other(), [&] { return play(bus.path(), 1, kExchanges, *ready); });
  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(second.wait(), 0);
  EXPECT_TRUE(is_clean(bus.audit()));
}

/// A holder of the lock that lives, and does nothing; and one that waits for the lock.
void expect_takeover_after_patience(const TempBus& bus, std::int64_t holder_s,
                                    std::int64_t waiter_s) {
  const Shared<std::atomic<bool>> held;
  Child holder = child_in_time(holder_s, [&] {
    const Port port = port_on(bus.path(), {.name = "holder"});
    const RawBus raw(bus.path());
    raw.lock_as(port.slot());
    *held = true;
    for (;;) pause();
    return 0;
  });
  ASSERT_TRUE(eventually([&] { return held->load(); }));
  Child waiter = child_in_time(waiter_s, [&] {
    Port port = port_on(bus.path(), {.name = "waiter"});
    NumberedBatch frames(60);
    return port.send(frames.make(1, 0, 1)).error ? 1 : 0;
  });
  EXPECT_EQ(waiter.wait(), 0);
  const BusInfo info = bus.info();
  EXPECT_EQ(info.takeovers_living, 1U);
  EXPECT_EQ(info.takeovers_dead, 0U);
  // What the bus reports, as the waiter saw it: the whole of its patience, and none of the days
  // that lie between the two clocks. How long the test itself took matters to neither.
  EXPECT_GE(info.longest_hold_ns, 90'000'000U);
  EXPECT_LT(info.longest_hold_ns, 3'600'000'000'000U);
}

TEST_P(TimeNamespaces, PatienceWithAHolderIsTheWaitersOwn) {
  expect_takeover_after_patience(bus, one(), other());
}

TEST_P(TimeNamespaces, TimesOfFramesAreTheWallClocksWhichIsCommonToAll) {
  const Shared<std::atomic<int>> step;
  Child sender = child_in_time(one(), [&] {
    Port port = port_on(bus.path());
    while (*step == 0) std::this_thread::sleep_for(milliseconds(1));
    NumberedBatch frames(60);
    return port.send(frames.make(1, 0, 1)).error ? 1 : 0;
  });
  Child listener = child_in_time(other(), [&] {
    Port port = port_on(bus.path());
    FrameBatch heard;
    const std::int64_t before = time(nullptr);
    *step = 1;
    std::int64_t latest = -1;
    if (!hear_next(port, heard, latest)) return 1;
    const auto sent = static_cast<std::int64_t>(heard.frames()[0].time_ns / 1'000'000'000);
    return sent >= before - 1 && sent <= time(nullptr) + 1 ? 0 : 2;
  });
  EXPECT_EQ(sender.wait(), 0);
  EXPECT_EQ(listener.wait(), 0);
}

/// Steps the wall clock, all the time, days back and forth.
class Stepper {
 public:
  ~Stepper() {
    stepper_.request_stop();
    stepper_.join();
    wall_clock_step_s() = 0;
  }
  std::uint64_t steps() const { return steps_; }

 private:
  std::atomic<std::uint64_t> steps_{0};
  std::jthread stepper_{[this](const std::stop_token& stop) {
    for (std::int64_t i = 0; !stop.stop_requested(); ++i, ++steps_) {
      wall_clock_step_s() = (i % 2 == 0 ? 1 : -1) * (i % 7) * kDay;
      std::this_thread::sleep_for(milliseconds(1));
    }
  }};
};

TEST(SteppedWallClock, IsWhatTheLibrarySees) {
  const TempBus bus(small_ring());
  Port from = port_on(bus.path());
  Port to = port_on(bus.path());
  NumberedBatch frames(60);
  FrameBatch heard;
  const auto time_of_a_frame = [&](std::int64_t step_s) {
    wall_clock_step_s() = step_s;
    EXPECT_FALSE(from.send(frames.make(1, 0, 1)).error);
    heard.clear();
    EXPECT_EQ(to.receive(heard).frames, 1U);
    return heard.frames()[0].time_ns / 1'000'000'000;
  };
  const std::uint64_t now = time_of_a_frame(0);
  EXPECT_GT(time_of_a_frame(5 * kDay), now + 4 * kDay);
  EXPECT_LT(time_of_a_frame(-5 * kDay), now - 4 * kDay);
  wall_clock_step_s() = 0;
}

TEST(SteppedWallClock, FramesWaitsAndDeepSleepDoNotCare) {
  const TempBus bus(small_ring());
  const Shared<std::atomic<unsigned>> ready;
  const Shared<std::atomic<std::int64_t>> step;
  static_cast<void>(wall_clock_step_s());  // before the fork: shared
  Child first([&] {
    return play(bus.path(), 0, kExchanges, *ready,
                [n = 0]() mutable { wall_clock_step_s() = (++n % 5 - 2) * kDay; });
  });
  Child second([&] {
    return play(bus.path(), 1, kExchanges, *ready,
                [n = 0]() mutable { wall_clock_step_s() = (++n % 3 - 1) * kDay; });
  });
  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(second.wait(), 0);
  wall_clock_step_s() = 0;
  EXPECT_TRUE(is_clean(bus.audit()));
}

TEST(SteppedWallClock, NeitherShortensNorLengthensPatienceWithAHolder) {
  if (!has_time_namespaces()) GTEST_SKIP() << "no time namespaces here";
  const TempBus bus(small_ring());
  const Stepper stepper;
  expect_takeover_after_patience(bus, 0, 0);
  EXPECT_GT(stepper.steps(), 0U);
}

TEST(SteppedWallClock, NeitherEndsAWaitNorKeepsItFromEnding) {
  const TempBus bus(small_ring());
  Port port = port_on(bus.path());
  const Stepper stepper;
  for (unsigned i = 0; i < 20; ++i) {
    const Clock::time_point began = Clock::now();
    EXPECT_FALSE(port.wait(milliseconds(50)));
    EXPECT_GE(Clock::now() - began, milliseconds(50)) << "a clock that runs on, as no step can";
  }
}

TEST(SteppedWallClock, ARecordHoldsFramesInTheirOrderWhateverTheirTimes) {
  const TempBus bus(small_ring());
  Port from = port_on(bus.path());
  Port to = port_on(bus.path());
  const std::string path = bus.file("pcap");
  {
    PcapWriter writer = PcapWriter::create(path).value();
    NumberedBatch frames(60);
    FrameBatch heard;
    for (std::uint32_t i = 0; i < 50; ++i) {
      wall_clock_step_s() = -static_cast<std::int64_t>(i) * kDay;
      ASSERT_FALSE(from.send(frames.make(1, i, 1)).error);
      heard.clear();
      ASSERT_EQ(to.receive(heard).frames, 1U);
      ASSERT_EQ(writer.send(heard.frames()).taken, 1U);
    }
    wall_clock_step_s() = 0;
  }
  // Played with its times: what goes back is due at once.
  PcapReader reader = PcapReader::open(path, {.speed = 1}).value();
  FrameBatch batch;
  std::uint32_t next = 0;
  std::uint64_t before = ~0ULL;
  while (!reader.receive(batch).error) {
    for (const FrameView& frame : batch.frames()) {
      EXPECT_EQ(check_numbered(frame)->sequence, next++);
      EXPECT_LT(frame.time_ns, before);
      before = frame.time_ns;
    }
    batch.clear();
  }
  EXPECT_EQ(next, 50U);
}

TEST(Suspend, ProcessesThatAllStandStillForLongGoOnWhereTheyWere) {
  const TempBus bus(small_ring());
  const Shared<std::atomic<unsigned>> ready;
  const Shared<std::atomic<unsigned>> round;
  const auto player = [&](unsigned number) {
    return Child([&, number] { return play(bus.path(), number, 4000, *ready, [&] { ++*round; }); });
  };
  Child first = player(0);
  Child second = player(1);
  for (unsigned stops = 1; stops <= 3; ++stops) {
    ASSERT_TRUE(eventually([&] { return *round > stops * 1000; }));
    first.stop();
    second.stop();
    std::this_thread::sleep_for(milliseconds(1500));  // longer than any patience and any look-up
    first.resume();
    second.resume();
  }
  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(second.wait(), 0);
  EXPECT_TRUE(is_clean(bus.audit()));
}

}  // namespace
}  // namespace shmif::test
