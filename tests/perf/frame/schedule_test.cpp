#include <gtest/gtest.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <vector>

#include "perf/frame/schedule.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

constexpr std::uint64_t kBegin = 5'000'000'000;
constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kUs = 1000;

struct Sent {
  std::uint64_t at_ns = 0;
  std::uint64_t intended_ns = 0;
};

/// A job without a medium: it looks every `step_ns`, and makes the pauses.
class Job {
 public:
  explicit Job(const ScheduleOptions& options, std::uint64_t end_ns = Schedule::kNever,
               std::size_t batch = 32)
      : schedule(options, kBegin, end_ns), slots_(batch) {}

  void run(std::uint64_t from_ns, std::uint64_t to_ns, std::uint64_t step_ns) {
    for (std::uint64_t now = from_ns; now < to_ns; now += step_ns) look(now);
  }
  void look(std::uint64_t now_ns) {
    std::size_t taken = 0;
    while ((taken = schedule.take(now_ns, sizes, slots_)) != 0) {
      for (std::size_t i = 0; i < taken; ++i) sent.push_back({now_ns, slots_[i].intended_ns});
      if (schedule.pause_is_due()) pauses.push_back(schedule.pause(now_ns));
    }
  }

  Schedule schedule;
  SizeChooser sizes{FrameSizes{}, 1};
  std::vector<Sent> sent;
  std::vector<ThinkTime::Pause> pauses;

 private:
  std::vector<Schedule::Slot> slots_;
};

TEST(Schedule, EachFrameGoesAtTheFirstLookAfterItIsDue) {
  Job job({.pace = {.frames_per_s = 1000}});
  EXPECT_EQ(job.schedule.next_ns(), kBegin);
  job.run(kBegin - 10 * kUs, kBegin + 100 * kMs, 10 * kUs);
  ASSERT_EQ(job.sent.size(), 100U);
  for (std::size_t i = 0; i < job.sent.size(); ++i) {
    EXPECT_EQ(job.sent[i].intended_ns, kBegin + i * kMs);
    EXPECT_EQ(job.sent[i].at_ns, job.sent[i].intended_ns);
  }
  EXPECT_EQ(job.schedule.next_ns(), kBegin + 100 * kMs);
}

TEST(Schedule, AfterAStallABurstKeepsTheLoadAndTheIntendedTimes) {
  Job job({.pace = {.frames_per_s = 10'000}});
  job.run(kBegin, kBegin + 5 * kMs, 10 * kUs);
  job.run(kBegin + 25 * kMs, kBegin + 30 * kMs, 10 * kUs);
  ASSERT_EQ(job.sent.size(), 300U);
  std::size_t at_once = 0;
  for (std::size_t i = 0; i < job.sent.size(); ++i) {
    ASSERT_EQ(job.sent[i].intended_ns, kBegin + i * 100 * kUs);
    at_once += job.sent[i].at_ns == kBegin + 25 * kMs ? 1 : 0;
  }
  EXPECT_EQ(at_once, 201U);
}

TEST(Schedule, LimitedCatchingUpGoesAtTwiceTheRateUntilOnTime) {
  for (const std::uint64_t step : {1 * kUs, 10 * kUs, 90 * kUs}) {
    SCOPED_TRACE(step);
    Job job({.pace = {.frames_per_s = 100'000}, .catch_up = CatchUp::limited});
    job.run(kBegin, kBegin + 5 * kMs, step);
    const std::size_t before = job.sent.size();
    job.run(kBegin + 25 * kMs, kBegin + 100 * kMs, step);
    const std::uint64_t lateness = 2 * step + 10 * kUs;
    for (std::size_t i = 0; i < job.sent.size(); ++i) {
      ASSERT_EQ(job.sent[i].intended_ns, kBegin + i * 10 * kUs) << "nothing is left out";
    }
    // 20 ms behind at 25 ms, and as fast again as the stream itself: on time at 45 ms.
    for (std::size_t i = before; i < job.sent.size(); ++i) {
      const std::uint64_t since = job.sent[i].at_ns - (kBegin + 25 * kMs);
      const std::uint64_t allowed = since / (5 * kUs) + 1;
      if (since <= 20 * kMs) {
        ASSERT_LE(i - before, allowed) << "faster than twice the rate";
        ASSERT_GE(i - before + step / (5 * kUs) + 2, allowed) << "slower than twice the rate";
      } else {
        ASSERT_LE(job.sent[i].at_ns - job.sent[i].intended_ns, lateness);
      }
    }
  }
}

TEST(Schedule, ALittleLateIsNoStall) {
  for (const CatchUp kind : {CatchUp::burst, CatchUp::limited, CatchUp::skip}) {
    Job job({.pace = {.frames_per_s = 1'000'000}, .catch_up = kind});
    job.run(kBegin, kBegin + 20 * kMs, 50 * kUs);
    EXPECT_EQ(job.sent.size(), 19'951U);
    EXPECT_EQ(job.schedule.skipped_frames(), 0U);
  }
}

TEST(Schedule, SkippingGivesUpWhatWasDueInAStallAndCountsIt) {
  Job job({.pace = {.frames_per_s = 10'000}, .catch_up = CatchUp::skip});
  job.run(kBegin, kBegin + 5 * kMs, 10 * kUs);
  job.run(kBegin + 25 * kMs + 10, kBegin + 30 * kMs, 10 * kUs);
  EXPECT_EQ(job.schedule.skipped_frames(), 201U);
  EXPECT_EQ(job.schedule.skipped_bytes(), 201U * 64);
  EXPECT_EQ(job.sent.size() + job.schedule.skipped_frames(), 300U);
  for (const Sent& sent : job.sent) EXPECT_LE(sent.at_ns - sent.intended_ns, 10 * kUs);
}

TEST(Schedule, WhatWasDueAndNotTakenAtTheEndWasOffered) {
  Job job({.pace = {.frames_per_s = 10'000}}, kBegin + 10 * kMs);
  job.run(kBegin, kBegin + 4 * kMs, 10 * kUs);
  EXPECT_EQ(job.schedule.give_up(kBegin + 50 * kMs, job.sizes), 60U);
  EXPECT_EQ(job.sent.size(), 40U);
  EXPECT_EQ(job.schedule.skipped_frames(), 0U);
}

TEST(Schedule, PausesFollowEachBurstWhateverTheBatches) {
  for (const std::size_t batch : {1U, 3U, 7U, 64U}) {
    Job job({.think = {.pause = 2ms, .spin = 500us, .blocks = 10}}, kBegin + 21 * kMs, batch);
    job.run(kBegin, kBegin + 21 * kMs, kMs / 2);
    ASSERT_EQ(job.pauses.size(), 11U) << batch;
    EXPECT_EQ(job.sent.size(), 110U);
    for (std::size_t i = 0; i < job.sent.size(); ++i) {
      EXPECT_EQ(job.sent[i].at_ns, kBegin + (i / 10) * 2 * kMs);
    }
    EXPECT_EQ(job.pauses[0].until_ns, kBegin + 2 * kMs);
    EXPECT_EQ(job.pauses[0].spin_until_ns, kBegin + kMs / 2);
    EXPECT_EQ(job.pauses[10].until_ns, kBegin + 21 * kMs) << "never past the end";
  }
}

TEST(Schedule, APauseIsNotHeldAgainstTheFramesThatWereDueInIt) {
  // The rate is kept, as fio keeps it: 10 frames at a time, late by design.
  Job burst({.pace = {.frames_per_s = 10'000}, .think = {.pause = 20ms, .blocks = 100}});
  burst.run(kBegin, kBegin + 100 * kMs, 10 * kUs);
  for (const Sent& sent : burst.sent) EXPECT_EQ(sent.at_ns, sent.intended_ns);
  EXPECT_GT(burst.sent.size(), 400U);
  Job skip({.pace = {.frames_per_s = 10'000},
            .catch_up = CatchUp::skip,
            .think = {.pause = 20ms, .blocks = 100}});
  skip.run(kBegin, kBegin + 100 * kMs, 10 * kUs);
  EXPECT_EQ(skip.schedule.skipped_frames(), 0U) << "nothing was offered in a pause";
  for (const Sent& sent : skip.sent) EXPECT_EQ(sent.at_ns, sent.intended_ns);
}

// ---- The pace ----

std::vector<nanoseconds> times(Pacer& pacer, std::size_t count, std::size_t bytes = 60) {
  std::vector<nanoseconds> out;
  for (std::size_t i = 0; i < count; ++i) {
    out.push_back(pacer.due());
    pacer.advance(bytes);
  }
  return out;
}

TEST(Pacer, FramesPerSecondAreExactInTheLongRunAndToANanosecondAtEachFrame) {
  for (const std::uint64_t rate : {1ULL, 3ULL, 7ULL, 1'000ULL, 999'983ULL, 14'880'952ULL,
                                   1'000'000'000ULL, 3'000'000'000ULL}) {
    Pacer pacer({.frames_per_s = rate});
    const std::uint64_t count = std::min<std::uint64_t>(rate, 200'000);
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t exact = i * 1'000'000'000 / rate;
      ASSERT_EQ(pacer.due(), nanoseconds(exact)) << rate << " frame " << i;
      pacer.advance(60);
    }
  }
}

TEST(Pacer, BitsPerSecondCountEachFrameAtItsSize) {
  Pacer pacer({.bits_per_s = 1'000'000'000});
  EXPECT_EQ(pacer.due(), 0ns);
  pacer.advance(1250);
  EXPECT_EQ(pacer.due(), 10us);
  pacer.advance(125);
  EXPECT_EQ(pacer.due(), 11us);
  Pacer odd({.bits_per_s = 3});
  odd.advance(1);  // 8 bits at 3 a second
  EXPECT_EQ(odd.due(), 2'666'666'666ns);
  odd.advance(1);
  EXPECT_EQ(odd.due(), 5'333'333'333ns);
  odd.advance(1);
  EXPECT_EQ(odd.due(), 8s) << "the rests come to a whole";
}

TEST(Pacer, OfTwoRatesTheSlowerOneSetsThePace) {
  Pacer pacer({.frames_per_s = 1000, .bits_per_s = 8'000'000});
  pacer.advance(100);  // 0.1 ms of bits, 1 ms of frames
  EXPECT_EQ(pacer.due(), 1ms);
  pacer.advance(5000);  // 5 ms more of bits
  EXPECT_EQ(pacer.due(), 5100us);
}

TEST(Pacer, APoissonStreamHasItsRateAndIndependentExponentialGaps) {
  Pacer pacer({.frames_per_s = 1'000'000, .process = PaceOptions::Process::poisson, .seed = 11});
  constexpr std::size_t kFrames = 400'000;
  const auto t = times(pacer, kFrames + 1);
  const double n = kFrames;
  const double seconds = std::chrono::duration<double>(t.back()).count();
  EXPECT_NEAR(n / seconds, 1e6, 1e6 * 4 / std::sqrt(n));
  double squares = 0;
  double products = 0;
  std::size_t long_ones = 0;
  for (std::size_t i = 1; i <= kFrames; ++i) {
    const double gap = static_cast<double>((t[i] - t[i - 1]).count()) / 1000 - 1;
    squares += gap * gap;
    if (i > 1) products += gap * (static_cast<double>((t[i - 1] - t[i - 2]).count()) / 1000 - 1);
    long_ones += gap > 2 ? 1 : 0;
  }
  EXPECT_NEAR(std::sqrt(squares / n), 1, 0.02) << "as much spread as mean";
  EXPECT_NEAR(products / n, 0, 0.02) << "a gap says nothing of the next";
  EXPECT_NEAR(static_cast<double>(long_ones) / n, std::exp(-3), 0.003);
  // The parts of a nanosecond come to whole ones.
  Pacer dense({.frames_per_s = 1'000'000'000, .process = PaceOptions::Process::poisson});
  EXPECT_NEAR(static_cast<double>(times(dense, kFrames + 1).back().count()), n, 4 * std::sqrt(n));
  // A million frames of 60 bytes a second, which is the slower of two rates.
  Pacer bits({.frames_per_s = 9'000'000,
              .bits_per_s = 480'000'000,
              .process = PaceOptions::Process::poisson,
              .seed = 11});
  EXPECT_EQ(times(bits, kFrames + 1), t);
}

TEST(Pacer, SkippingAtOnceIsAsSkippingOneByOne) {
  const std::vector<PaceOptions> all{
      {.frames_per_s = 7},
      {.frames_per_s = 999'983},
      {.bits_per_s = 1'000'003},
      {.frames_per_s = 3000, .bits_per_s = 2'000'000, .overhead_bytes = 24},
      {.frames_per_s = 3000, .process = PaceOptions::Process::poisson},
  };
  for (const PaceOptions& options : all) {
    Pacer at_once(options);
    Pacer one_by_one(options);
    for (const nanoseconds now :
         std::initializer_list<nanoseconds>{1us, 700ms, 700ms, 701ms, 3s, 3'000'000'001ns}) {
      std::uint64_t count = 0;
      for (; one_by_one.due() < now; ++count) one_by_one.advance(99);
      ASSERT_EQ(at_once.skip_to(now, 99), count);
      ASSERT_EQ(at_once.due(), one_by_one.due());
    }
  }
  EXPECT_EQ(Pacer({}).skip_to(1s, 60), 0U) << "without a rate";
  Pacer fast({.frames_per_s = 1'000'000'000});
  EXPECT_EQ(fast.skip_to(std::chrono::hours(24), 60), 86'400'000'000'000U);
}

std::map<std::uint32_t, std::uint64_t> count(SizeChooser& sizes, std::uint64_t frames) {
  std::map<std::uint32_t, std::uint64_t> seen;
  for (std::uint64_t i = 0; i < frames; ++i) ++seen[sizes.next()];
  return seen;
}

/// So far a count may be from its expectation: five standard deviations.
double margin(double frames, double share) {
  return 5 * std::sqrt(frames * share * (1 - share));
}

TEST(FrameSizes, EachSizeOfARangeComesAsOftenAsAnyOther) {
  SizeChooser sizes({{{.min = 64, .max = 73}}}, 2);
  constexpr double kFrames = 200'000;
  const auto seen = count(sizes, static_cast<std::uint64_t>(kFrames));
  ASSERT_EQ(seen.size(), 10U);
  EXPECT_EQ(seen.begin()->first, 64U);
  EXPECT_EQ(seen.rbegin()->first, 73U);
  for (const auto& [size, times] : seen) {
    EXPECT_NEAR(static_cast<double>(times), kFrames / 10, margin(kFrames, 0.1)) << size;
  }
  EXPECT_EQ(sizes.mean(), 68.5);
  EXPECT_FALSE(sizes.is_fixed());
}

TEST(FrameSizes, TheMixOfTheInternetIsSevenFourOne) {
  SizeChooser sizes(imix_sizes(), 3);
  constexpr double kFrames = 240'000;
  const auto seen = count(sizes, static_cast<std::uint64_t>(kFrames));
  const std::map<std::uint32_t, double> expected{{60, 7.0 / 12}, {590, 4.0 / 12}, {1514, 1.0 / 12}};
  ASSERT_EQ(seen.size(), expected.size());
  for (const auto& [size, share] : expected) {
    EXPECT_NEAR(static_cast<double>(seen.at(size)), kFrames * share, margin(kFrames, share));
  }
  EXPECT_DOUBLE_EQ(sizes.mean(), (7 * 60 + 4 * 590 + 1514) / 12.0);
  EXPECT_EQ(sizes.min(), 60U);
  EXPECT_EQ(sizes.max(), 1514U);
}

TEST(FrameSizes, ASizeOfWeightZeroIsNoLimit) {
  const SizeChooser sizes(
      {{{.min = 9000, .max = 9000, .weight = 0}, {.min = 64, .max = 64, .weight = 1}}}, 3);
  EXPECT_EQ(sizes.max(), 64U);
}

TEST(FrameSizes, TheSeedMakesTheStreamAndThePositionTakesItUpAgain) {
  const FrameSizes range{{{.min = 64, .max = 1500}, {.min = 60, .max = 60}}};
  SizeChooser one(range, 7);
  SizeChooser same(range, 7);
  SizeChooser other(range, 8);
  unsigned differences = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::uint32_t size = one.next();
    ASSERT_EQ(size, same.next());
    differences += size != other.next() ? 1 : 0;
  }
  EXPECT_GT(differences, 400U);
  SizeChooser resumed(range, 7, one.position());
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(resumed.next(), one.next());
}

}  // namespace

}  // namespace shmif::perf
