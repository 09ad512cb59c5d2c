// What the built-in load says about itself: the rate of each thread between the ends of its phases.

#include "instruments/membw/fill_load.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

namespace shmif::perf::test {
namespace {

constexpr std::uint64_t kLoadSecond = 1'000'000'000;

struct LoadRig {
  FillCounts counts = FillCounts::create().value();
  std::uint64_t now = 50 * kLoadSecond;
  LoadSource source{counts, [this] { return now; }};

  /// A window of a second, in which `during` happens.
  template <class During>
  MemoryReading window(const During& during) {
    EXPECT_TRUE(source.enable());
    during();
    now += kLoadSecond;
    EXPECT_TRUE(source.disable());
    return source.read();
  }
};

TEST(LoadSource, AddsTheRatesOfThreadsEachOverItsOwnTime) {
  LoadRig rig;
  rig.counts.set(0, {1 * kLoadSecond, 0, 100});
  rig.counts.set(1, {1 * kLoadSecond, 10, 20});
  const MemoryReading reading = rig.window([&] {
    rig.counts.set(0, {3 * kLoadSecond, 60, 220});  // 30 and 60 each second
    rig.counts.set(1, {2 * kLoadSecond, 14, 28});   // 4 and 8
  });
  EXPECT_EQ(reading.reads, 34);
  EXPECT_EQ(reading.writes, 68);
  EXPECT_EQ(reading.total, 102);
  EXPECT_EQ(reading.window_s(), 1);
  EXPECT_EQ(reading.reason, "");
}

TEST(LoadSource, CountsTheTimeOfASingleRoundFromItsBegin) {
  LoadRig rig;
  rig.counts.set(0, {1 * kLoadSecond, 0, 0});  // it has waited since then
  const MemoryReading reading = rig.window([&] {
    rig.counts.begin_round(11 * kLoadSecond);
    rig.counts.set(0, {11 * kLoadSecond + kLoadSecond / 2, 60, 30});
  });
  EXPECT_EQ(reading.reads, 120);
  EXPECT_EQ(reading.writes, 60);
}

TEST(LoadSource, HasNoRateOfAWindowInWhichAThreadEndedNoPhase) {
  LoadRig rig;
  const auto nothing = [] {};
  EXPECT_EQ(rig.window(nothing).total, std::nullopt);
  EXPECT_EQ(rig.window(nothing).reason, "the load has not begun to fill its buffers");
  rig.counts.set(0, {1 * kLoadSecond, 0, 0});
  rig.counts.set(1, {1 * kLoadSecond, 0, 0});
  const MemoryReading half = rig.window([&] { rig.counts.set(0, {2 * kLoadSecond, 5, 5}); });
  EXPECT_EQ(half.total, std::nullopt);
  EXPECT_EQ(half.reason,
            "thread 1 of the load did not end a round in this window (take a longer --window)");
  // One that has a place, and had not begun.
  LoadRig waiting;
  waiting.counts.set(0, {0, 0, 0});
  EXPECT_EQ(waiting.window([&] { waiting.counts.set(0, {2 * kLoadSecond, 5, 5}); }).total,
            std::nullopt);
  // One that began meanwhile was not seen at the begin.
  EXPECT_EQ(rig.window([&] {
                 rig.counts.set(0, {3 * kLoadSecond, 9, 9});
                 rig.counts.set(1, {3 * kLoadSecond, 9, 9});
                 rig.counts.set(2, {3 * kLoadSecond, 9, 9});
               })
                .total,
            std::nullopt);
}

TEST(FillCounts, AreSeenByAProcessThatOpensTheirPath) {
  const FillCounts counts = FillCounts::create().value();
  auto other = FillCounts::open(counts.path()).value();
  EXPECT_EQ(other.path(), "");
  EXPECT_TRUE(counts.look().empty());
  other.set(0, {7, 8, 9});
  other.set(FillCounts::kMaxThreads, {1, 1, 1});
  const auto seen = counts.look();
  ASSERT_EQ(seen.size(), 1U);
  ASSERT_TRUE(seen[0]);
  EXPECT_EQ(seen[0]->time_ns, 7U);
  EXPECT_EQ(seen[0]->read, 8U);
  EXPECT_EQ(seen[0]->written, 9U);
  const auto none = FillCounts::open("/dev/null");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message, "/dev/null was not made by shmifperf membw for its load");
}

TEST(FillLoad, TellsWhatItHasDoneSoFar) {
  FillCounts counts = FillCounts::create().value();
  const auto filled = fill_memory(std::chrono::milliseconds(20),
                                  {.threads = 2, .buffer_bytes = 1U << 20U, .counts = &counts});
  ASSERT_TRUE(filled) << filled.error().message;
  std::uint64_t bytes = 0;
  const auto threads = counts.look();
  EXPECT_EQ(threads.size(), 2U);
  for (const auto& each : threads) {
    ASSERT_TRUE(each);
    EXPECT_EQ(each->written, 2 * each->read) << "of three bytes, one is read";
    bytes += each->read + each->written;
  }
  EXPECT_EQ(bytes, filled->bytes);
}

TEST(FillCounts, OfAThreadThatIsWritingAreNotKnown) {
  FillCounts counts = FillCounts::create().value();
  const int file = ::open(counts.path().c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(file, 0);
  constexpr off_t kSlot = 64;
  const auto changes = [&](unsigned thread) {
    std::uint64_t value = 0;
    EXPECT_EQ(::pread(file, &value, sizeof value, kSlot * thread), 8);
    return value;
  };
  const auto put_changes = [&](unsigned thread, std::uint64_t value) {
    EXPECT_EQ(::pwrite(file, &value, sizeof value, kSlot * thread), 8);
  };
  counts.set(0, {1, 2, 3});
  counts.set(1, {4, 5, 6});
  EXPECT_EQ(changes(0), 2U) << "one before the words, and one behind them";
  counts.set(0, {7, 8, 9});
  EXPECT_EQ(changes(0), 4U);
  put_changes(0, 5);
  auto seen = counts.look();
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_FALSE(seen[0]);
  EXPECT_EQ(seen[1]->written, 6U);
  // A window of which the begin, or the end, is not known has no rate.
  for (const bool at_the_end : {false, true}) {
    std::uint64_t now = 1;
    LoadSource source(counts, [&now] { return ++now; });
    put_changes(0, at_the_end ? 6 : 7);
    ASSERT_TRUE(source.enable());
    put_changes(0, at_the_end ? 9 : 8);
    if (!at_the_end) counts.set(0, {20, 21, 22});
    counts.set(1, {at_the_end ? 30U : 20U, 21, 22});
    ASSERT_TRUE(source.disable());
    EXPECT_EQ(source.read().reason,
              "thread 0 of the load did not end a round in this window (take a longer --window)");
    EXPECT_FALSE(source.read().total);
    EXPECT_FALSE(source.read().reads);
    put_changes(0, 10);
  }
  ::close(file);
}

}  // namespace
}  // namespace shmif::perf::test
