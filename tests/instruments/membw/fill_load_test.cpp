// The built-in load: what its text says, and what each of its operations counts.

#include "instruments/membw/fill_load.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <thread>

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
  EXPECT_EQ(usual_fill_buffer(32 * kMiB, 64 * kGiB, 1), 256 * kMiB);
  EXPECT_EQ(usual_fill_buffer(32 * kMiB, 64 * kGiB, 2), 128 * kMiB);
  EXPECT_EQ(usual_fill_buffer(32 * kMiB, 64 * kGiB, 8), 64 * kMiB) << "no less";
  EXPECT_EQ(usual_fill_buffer(0, 64 * kGiB, 1), 64 * kMiB);
  EXPECT_EQ(usual_fill_buffer(kGiB, 64 * kGiB, 1), 512 * kMiB) << "no more";
  EXPECT_EQ(usual_fill_buffer(kGiB, 64 * kGiB, 32), 256 * kMiB);
  EXPECT_EQ(usual_fill_buffer(32 * kMiB, kGiB, 1), 256 * kMiB);
  EXPECT_EQ(usual_fill_buffer(32 * kMiB, kGiB / 2, 1), 128 * kMiB);
  EXPECT_EQ(usual_fill_buffer(32 * kMiB, kGiB / 2, 64), 2 * kMiB);
  EXPECT_EQ(usual_fill_buffer(32 * kMiB, kGiB / 16, 64), kMiB);
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

}  // namespace
}  // namespace shmif::perf::test
