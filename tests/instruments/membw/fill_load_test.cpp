// The built-in load: what its text says, what each of its operations counts, and what it says about
// itself: the rate of each thread between the ends of its phases.

#include "instruments/membw/fill_load.hpp"

#include <fcntl.h>
#include <sched.h>

#include <thread>

#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

/// What all threads of a load counted.
struct Filled {
  std::uint64_t read = 0, written = 0, result = 0;
};
Filled filled_by(const std::string& text, std::chrono::nanoseconds time) {
  FillCounts counts = FillCounts::create().value();
  FillOptions options = read_fill_load(text).value();
  options.threads = 2;
  options.counts = &counts;
  Filled filled;
  filled.result = fill_memory(time, options).value().bytes;
  for (const auto& each : counts.look()) {
    EXPECT_TRUE(each);
    filled.read += each->read;
    filled.written += each->written;
  }
  return filled;
}

TEST(FillLoad, DoesOneRoundOfItsOperationOnTheWholeBufferOfEachThread) {
  const auto long_time = std::chrono::hours(1);  // which it does not take
  const Filled read = filled_by("fill:size=1M,op=read,once", long_time);
  EXPECT_EQ(read.read, 2 * kMiB);
  EXPECT_EQ(read.written, 0U);
  const Filled written = filled_by("fill:op=write,size=40M,once,flush", long_time);
  EXPECT_EQ(written.read, 0U);
  EXPECT_EQ(written.written, 80 * kMiB) << "in several steps";
  const Filled copied = filled_by("fill:once,size=40M", long_time);
  EXPECT_EQ(copied.read, 40 * kMiB);
  EXPECT_EQ(copied.written, 80 * kMiB);
  EXPECT_EQ(copied.result, 120 * kMiB);
}

TEST(FillLoad, OfASingleRoundTakesTurnsWithItsObserver) {
  const FillCounts observer = FillCounts::create().value();
  FillCounts its = FillCounts::open(observer.path()).value();
  FillCounts mine = FillCounts::open(observer.path()).value();
  FillOptions options = read_fill_load("fill:size=1M,op=write,once").value();
  options.threads = 2;
  options.counts = &its;
  options.takes_turns = true;
  const auto at_turn = [&](FillTurn turn) {
    while (mine.turn() != turn) mine.wait_while(mine.turn(), std::chrono::milliseconds(1));
    std::uint64_t written = 0;
    for (const auto& each : mine.look()) written += each.value().written;
    return written;
  };
  EXPECT_EQ(mine.turn(), FillTurn::preparing);
  std::jthread load([&] { EXPECT_TRUE(fill_memory(std::chrono::hours(1), options)); });
  EXPECT_EQ(at_turn(FillTurn::ready), 0U);
  EXPECT_EQ(mine.look().size(), 2U) << "the begin of each thread is known before its round";
  EXPECT_EQ(mine.round_began_ns(), 0U);
  mine.begin_round(17);
  EXPECT_EQ(at_turn(FillTurn::done), 2 * kMiB);
  EXPECT_EQ(mine.round_began_ns(), 17U);
  mine.set_turn(FillTurn::preparing);  // it may go
}

TEST(FillLoad, OfASingleRoundWaitsForItsObserverOnlySoLong) {
  FillCounts counts = FillCounts::create().value();
  FillOptions options = read_fill_load("fill:size=1M,op=write,once").value();
  options.threads = 1;
  options.counts = &counts;
  options.takes_turns = true;
  EXPECT_EQ(fill_memory(std::chrono::milliseconds(1), options).value().bytes, kMiB);
  EXPECT_EQ(counts.turn(), FillTurn::done);
}

TEST(FillLoad, WithoutOnceGoesOnUntilItsTimeIsUp) {
  const Filled read = filled_by("fill:size=64k,op=read", std::chrono::milliseconds(20));
  EXPECT_EQ(read.read % (64U << 10U), 0U) << "whole rounds";
  EXPECT_GT(read.read, 0U);
  EXPECT_EQ(read.result, read.read);
}

TEST(FillLoad, TextSaysWhatItDoes) {
  const FillOptions usual = read_fill_load("fill").value();
  EXPECT_EQ(usual.operation, FillOperation::copy);
  EXPECT_EQ(usual.buffer_bytes, 0U);
  EXPECT_FALSE(usual.once);
  EXPECT_FALSE(usual.flush);
  const FillOptions all = read_fill_load("fill:size=250M,op=write,once,flush").value();
  EXPECT_EQ(all.operation, FillOperation::write);
  EXPECT_EQ(all.buffer_bytes, 250 * kMiB);
  EXPECT_TRUE(all.once);
  EXPECT_TRUE(all.flush);
  EXPECT_EQ(fill_load_text(usual), "fill");
  EXPECT_EQ(fill_load_text(all), "fill:size=262144000,op=write,once,flush");
  EXPECT_EQ(fill_load_text(read_fill_load("fill:flush").value()), "fill:flush");
}

TEST(FillLoad, RefusesTextThatDescribesNone) {
  struct Case {
    std::string text, says;
  };
  const std::string settings = "use size=SIZE, op=read|write|copy, once and flush";
  for (const Case& each :
       {Case{"copy", "write fill, or fill:size=250M,op=read"}, Case{"", "write fill, or "},
        Case{"fill:", settings}, Case{"fill:once,", settings}, Case{"fill:twice", settings},
        Case{"fill:once=1", settings}, Case{"fill:op=", "op must be read, write or copy"},
        Case{"fill:op=fill", "op must be read, write or copy"},
        Case{"fill:size=x", "\"size=x\" is not a size"},
        Case{"fill:size=63k", "size must be at least 64k per thread"}}) {
    const auto load = read_fill_load(each.text);
    ASSERT_FALSE(load) << each.text;
    EXPECT_EQ(load.error().message.find('"' + each.text + "\" is not a load ("), 0U);
    EXPECT_NE(load.error().message.find(each.says), std::string::npos) << load.error().message;
  }
}

TEST(FillLoad, UsuallyFillsManyTimesTheSharedCacheAndAQuarterOfTheMemoryAtMost) {
  constexpr std::uint64_t kGiB = 1024 * kMiB;
  struct Case {
    std::uint64_t cache, machine;
    unsigned threads;
    std::uint64_t wanted;
  };
  for (const Case& each : {Case{32 * kMiB, 64 * kGiB, 1, 256},
                           {32 * kMiB, 64 * kGiB, 2, 128},
                           {32 * kMiB, 64 * kGiB, 8, 64},  // no less
                           {0, 64 * kGiB, 1, 64},
                           {kGiB, 64 * kGiB, 1, 512},  // no more
                           {kGiB, 64 * kGiB, 32, 256},
                           {32 * kMiB, kGiB, 1, 256},
                           {32 * kMiB, kGiB / 2, 1, 128},
                           {32 * kMiB, kGiB / 2, 64, 2},
                           {32 * kMiB, kGiB / 16, 64, 1}}) {
    EXPECT_EQ(usual_fill_buffer(each.cache, each.machine, each.threads), each.wanted * kMiB);
  }
}

TEST(FillLoad, TakesNoMoreThanTheMemoryOfTheMachine) {
  FillOptions options{.threads = 4, .buffer_bytes = std::uint64_t{1} << 50U};
  const auto possible = check_fill(options);
  ASSERT_FALSE(possible);
  EXPECT_EQ(possible.error().code, std::errc::not_enough_memory);
  EXPECT_NE(possible.error().message.find("in each of 4 threads"), std::string::npos)
      << possible.error().message;
  EXPECT_FALSE(fill_memory({}, options));
  options.buffer_bytes = kMiB;
  EXPECT_TRUE(check_fill(options));
  const auto all = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                   static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  options.buffer_bytes = all / 2;
  EXPECT_FALSE(check_fill(options)) << "in all threads together";
  options.buffer_bytes = all / 4;
  EXPECT_TRUE(check_fill(options));
  options.buffer_bytes = all / 4 + 1;
  EXPECT_FALSE(check_fill(options));
  options = {.threads = 1, .buffer_bytes = all / 2};
  EXPECT_TRUE(check_fill(options));
}

/// Of a process that may use one CPU only.
TEST(FillLoad, HasAThreadForEachCpuThatItMayUse) {
  cpu_set_t before{};
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  FillOptions options{.buffer_bytes = 1U << 20U, .once = true};
  EXPECT_EQ(fill_memory({}, options)->threads, static_cast<unsigned>(CPU_COUNT(&before)));
  cpu_set_t one{};
  for (int cpu = 0; CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  const auto filled = fill_memory({}, options);
  options.buffer_bytes = std::uint64_t{1} << 62U;
  const auto large = check_fill(options);
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(filled->threads, 1U);
  EXPECT_EQ(filled->buffer_bytes, 1U << 20U);
  EXPECT_EQ(filled->bytes, 3U << 19U);
  EXPECT_NE(large.error().message.find("in each of 1 threads"), std::string::npos)
      << large.error().message;
}

struct LoadRig {
  FillCounts counts = FillCounts::create().value();
  std::uint64_t now = 50 * kSecond;
  LoadSource source{counts, [this] { return now; }};

  template <class During>
  MemoryReading window(const During& during) {
    return window_of(source, now, during);
  }
};

TEST(LoadSource, AddsTheRatesOfThreadsEachOverItsOwnTime) {
  LoadRig rig;
  rig.counts.set(0, {1 * kSecond, 0, 100});
  rig.counts.set(1, {1 * kSecond, 10, 20});
  const MemoryReading reading = rig.window([&] {
    rig.counts.set(0, {3 * kSecond, 60, 220});  // 30 and 60 each second
    rig.counts.set(1, {2 * kSecond, 14, 28});   // 4 and 8
  });
  EXPECT_EQ(reading.reads, 34);
  EXPECT_EQ(reading.writes, 68);
  EXPECT_EQ(reading.total, 102);
  EXPECT_EQ(reading.window_s(), 1);
  EXPECT_EQ(reading.reason, "");
}

TEST(LoadSource, CountsTheTimeOfASingleRoundFromItsBegin) {
  LoadRig rig;
  rig.counts.set(0, {1 * kSecond, 0, 0});  // it has waited since then
  const MemoryReading reading = rig.window([&] {
    rig.counts.begin_round(11 * kSecond);
    rig.counts.set(0, {11 * kSecond + kSecond / 2, 60, 30});
  });
  EXPECT_EQ(reading.reads, 120);
  EXPECT_EQ(reading.writes, 60);
}

TEST(LoadSource, HasNoRateOfAWindowInWhichAThreadEndedNoPhase) {
  LoadRig rig;
  const auto nothing = [] {};
  EXPECT_EQ(rig.window(nothing).total, std::nullopt);
  EXPECT_EQ(rig.window(nothing).reason, "the load has not begun to fill its buffers");
  rig.counts.set(0, {1 * kSecond, 0, 0});
  rig.counts.set(1, {1 * kSecond, 0, 0});
  const MemoryReading half = rig.window([&] { rig.counts.set(0, {2 * kSecond, 5, 5}); });
  EXPECT_EQ(half.total, std::nullopt);
  EXPECT_EQ(half.reason,
            "thread 1 of the load did not end a round in this window (take a longer --window)");
  // One that has a place, and had not begun.
  LoadRig waiting;
  waiting.counts.set(0, {0, 0, 0});
  EXPECT_EQ(waiting.window([&] { waiting.counts.set(0, {2 * kSecond, 5, 5}); }).total,
            std::nullopt);
  // One that began meanwhile was not seen at the begin.
  EXPECT_EQ(rig.window([&] {
                 rig.counts.set(0, {3 * kSecond, 9, 9});
                 rig.counts.set(1, {3 * kSecond, 9, 9});
                 rig.counts.set(2, {3 * kSecond, 9, 9});
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
