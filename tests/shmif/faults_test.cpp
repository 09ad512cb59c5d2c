// Faults by the number: what is drawn, when each frame is due, and that every frame is accounted
// for.

#include "shmif/faults.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/support/frames.hpp"

namespace shmif::test {
namespace {

using namespace std::chrono_literals;
using Time = Faults::Time;

/// Steps through time with frames of one size, and notes what goes out when.
class Way {
 public:
  explicit Way(const FaultOptions& options) : faults(options) {}

  void put(const Bytes& bytes) {
    faults.put(FrameView(bytes.data(), bytes.size()), now);
    drain();
  }
  /// `count` frames, the first with number `from` in it, each `gap` after the one before.
  void put_many(std::uint32_t from, std::uint32_t count, std::chrono::nanoseconds gap = 0ns,
                std::size_t size = 100) {
    for (std::uint32_t i = 0; i < count; ++i) {
      put(make_frame(size, from + i));
      now += gap;
      drain();
    }
  }
  void wait(std::chrono::nanoseconds time) {
    now += time;
    drain();
  }
  void drain() {
    FrameView view;
    while (faults.ready({&view, 1}, now) == 1) {
      out.push_back(to_bytes(view));
      at.push_back(now);
      faults.pop(1);
    }
  }

  Faults faults;
  Time now{1h};
  std::vector<Bytes> out;
  std::vector<Time> at;
};

std::vector<Bytes> made(std::uint32_t from, std::uint32_t count, std::size_t size = 100) {
  std::vector<Bytes> frames;
  for (std::uint32_t i = 0; i < count; ++i) frames.push_back(make_frame(size, from + i));
  return frames;
}

TEST(Faults, NoneLetEveryFramePassAtOnce) {
  EXPECT_FALSE(FaultOptions().any());
  Way way({});
  way.put_many(0, 50);
  EXPECT_EQ(way.out, made(0, 50));
  EXPECT_EQ(way.faults.waiting(), 0U);
  EXPECT_EQ(way.faults.counters().frames, 50U);
}

TEST(Faults, LossIsOfItsShareAndCountedToTheFrame) {
  for (const double share : {0.01, 0.3, 1.0}) {
    Way way({.loss = share, .seed = 5});
    way.put_many(0, 20'000);
    const FaultCounters& c = way.faults.counters();
    EXPECT_EQ(way.out.size() + c.lost, 20'000U);
    const double deviation = std::sqrt(20'000 * share * (1 - share));
    EXPECT_NEAR(static_cast<double>(c.lost), 20'000 * share, 5 * deviation);
    // What arrives is a part of what was sent, in order and unchanged.
    const std::vector<Bytes> sent = made(0, 20'000);
    auto from = sent.begin();
    for (const Bytes& frame : way.out) {
      from = std::find(from, sent.end(), frame);
      ASSERT_NE(from, sent.end());
      ++from;
    }
  }
}

TEST(Faults, TheSameSeedMakesTheSameFaultsAndAnotherOthers) {
  const FaultOptions options{.loss = 0.1, .duplicate = 0.1, .reorder = 0.1, .corrupt = 0.1};
  const auto heard = [&](std::uint64_t seed) {
    FaultOptions o = options;
    o.seed = seed;
    Way way(o);
    way.put_many(0, 500);
    return way.out;
  };
  EXPECT_EQ(heard(7), heard(7));
  EXPECT_NE(heard(7), heard(8));
  EXPECT_NE(heard(7), heard(7 + (std::uint64_t{1} << 32U))) << "half of the seed is not heeded";
}

TEST(Faults, AKindOfFaultChangesNoneOfTheOthers) {
  // Corruption and truncation of what survives are the same whether much is lost or nothing.
  const FaultOptions damage{.corrupt = 0.3, .truncate = 0.3, .seed = 3};
  FaultOptions more = damage;
  more.loss = 0.4;
  more.bursts = FaultOptions::Bursts{.to_bad = 0.1, .to_good = 0.5};
  more.duplicate = 0.2;
  more.delay = more.jitter = 1ms;
  Way some(damage);
  Way all(more);
  FaultOptions only_loss;
  only_loss.loss = more.loss;
  only_loss.bursts = more.bursts;
  only_loss.seed = 3;
  Way loss(only_loss);
  for (std::uint32_t i = 0; i < 500; ++i) {
    const std::size_t before = all.out.size();
    some.put_many(i, 1);
    loss.put_many(i, 1);
    all.put_many(i, 1, 5ms);
    ASSERT_EQ(loss.faults.counters().lost, all.faults.counters().lost) << i;
    if (all.out.size() > before) {
      ASSERT_EQ(all.out[before], some.out[i]) << i;
    }
  }
  EXPECT_GT(all.faults.counters().duplicated, 0U);
}

TEST(Faults, LossBesideBurstsMovesNoBurst) {
  FaultOptions options{.seed = 3};
  options.bursts = FaultOptions::Bursts{.to_bad = 0.05, .to_good = 0.2};
  Way bursts(options);
  bursts.put_many(0, 2000);
  options.loss = 0.3;
  Way both(options);
  both.put_many(0, 2000);
  EXPECT_LT(bursts.out.size(), 2000U);
  EXPECT_LT(both.out.size(), bursts.out.size());
  std::size_t at = 0;
  for (const Bytes& frame : both.out) {
    while (at < bursts.out.size() && bursts.out[at] != frame) ++at;
    ASSERT_LT(at, bursts.out.size()) << "a frame came that was in a burst";
  }
}

TEST(Faults, AChangeStartsTheRandomNumbersAgain) {
  FaultOptions options{.loss = 0.3, .seed = 5};
  Way changed(options);
  changed.put_many(0, 200);
  for (const std::uint64_t seed : {5U, 6U}) {
    options.seed = seed;
    Way fresh(options);
    fresh.put_many(0, 200);
    changed.out.clear();
    changed.faults.change(options);
    changed.put_many(0, 200);
    EXPECT_EQ(changed.out, fresh.out) << seed;
  }
}

TEST(Faults, BurstsLoseRunsOfFrames) {
  FaultOptions options;
  options.bursts = FaultOptions::Bursts{.to_bad = 0.01, .to_good = 0.1};
  Way way(options);
  way.put_many(0, 50'000);
  const double lost = static_cast<double>(way.faults.counters().lost);
  EXPECT_NEAR(lost / 50'000, 0.01 / 0.11, 0.02);
  // Runs: as many as there are bad spells, ten frames long on average.
  const std::vector<Bytes> sent = made(0, 50'000);
  std::size_t runs = 0;
  std::size_t at = 0;
  bool gone = false;
  for (const Bytes& frame : sent) {
    const bool arrived = at < way.out.size() && way.out[at] == frame;
    at += arrived ? 1 : 0;
    if (!arrived && !gone) ++runs;
    gone = !arrived;
  }
  EXPECT_NEAR(lost / static_cast<double>(runs), 10, 2);
}

TEST(Faults, ABurstBeginsAndEndsWithItsOwnProbability) {
  FaultOptions options;
  options.bursts = FaultOptions::Bursts{.to_bad = 1, .to_good = 0};
  Way stays_bad(options);
  stays_bad.put_many(0, 50);
  EXPECT_TRUE(stays_bad.out.empty());
  options.bursts = FaultOptions::Bursts{.to_bad = 0, .to_good = 1};
  Way stays_good(options);
  stays_good.put_many(0, 50);
  EXPECT_EQ(stays_good.out, made(0, 50));
  options.bursts = FaultOptions::Bursts{.to_bad = 1, .to_good = 1};
  Way changes(options);
  changes.put_many(0, 4);
  EXPECT_EQ(changes.out, (std::vector<Bytes>{make_frame(100, 1), make_frame(100, 3)}));
}

TEST(Faults, BurstsMayLoseAPartInEachState) {
  FaultOptions options;
  options.bursts =
      FaultOptions::Bursts{.to_bad = 0.5, .to_good = 0.5, .loss_in_bad = 0.4, .loss_in_good = 0.2};
  Way way(options);
  way.put_many(0, 20'000);
  EXPECT_NEAR(static_cast<double>(way.faults.counters().lost) / 20'000, 0.3, 0.02);
}

TEST(Faults, ADuplicateFollowsItsFrameAtOnce) {
  Way way({.duplicate = 0.3});
  way.put_many(0, 1000);
  const std::uint64_t twice = way.faults.counters().duplicated;
  EXPECT_NEAR(static_cast<double>(twice), 300, 75);
  EXPECT_EQ(way.out.size(), 1000 + twice);
  std::vector<Bytes> once = way.out;
  once.erase(std::unique(once.begin(), once.end()), once.end());
  EXPECT_EQ(once, made(0, 1000));
}

/// How many of `count` numbered frames came after one that was sent later (RFC 4737).
std::uint64_t overtaken(const std::vector<Bytes>& out, std::uint32_t count) {
  std::map<Bytes, std::uint32_t> number;
  const std::vector<Bytes> sent = made(0, count);
  for (std::uint32_t i = 0; i < count; ++i) number[sent[i]] = i;
  std::set<std::uint32_t> seen;
  std::uint64_t late = 0;
  for (const Bytes& frame : out) {
    const std::uint32_t n = number.at(frame);
    if (!seen.insert(n).second) continue;
    late += *seen.rbegin() > n ? 1U : 0U;
  }
  return late;
}

TEST(Faults, AReorderedFrameLetsTheNextOnePassThatIsNotReorderedAndNoMore) {
  Way way({.reorder = 0.2});
  way.put_many(0, 1000);
  way.wait(1s);
  ASSERT_EQ(way.out.size(), 1000U);
  const std::vector<Bytes> sent = made(0, 1000);
  // Each stretch that is out of order is its last frame, and then all the others.
  for (std::size_t i = 0; i < 1000; ++i) {
    if (way.out[i] == sent[i]) continue;
    const std::size_t first = i;
    while (way.out[i + 1] == sent[i]) ++i;
    ASSERT_EQ(way.out[first], sent[i]) << first;
  }
  EXPECT_EQ(way.faults.counters().reordered, overtaken(way.out, 1000));
}

TEST(Faults, ReorderingIsOfItsShare) {
  constexpr std::uint32_t kFrames = 20'000;
  for (const double share : {0.05, 0.1, 0.5, 0.9}) {
    SCOPED_TRACE(share);
    Way way({.reorder = share});
    way.put_many(0, kFrames);
    way.wait(1s);
    const auto late = static_cast<double>(overtaken(way.out, kFrames));
    EXPECT_EQ(static_cast<double>(way.faults.counters().reordered), late);
    EXPECT_NEAR(late, kFrames * share, 2.5 * std::sqrt(kFrames * share * (1 - share)));
  }
}

TEST(Faults, AFrameThatIsReorderedIsDoubledAsOftenAsAnother) {
  constexpr std::uint32_t kFrames = 20'000;
  Way way({.duplicate = 0.2, .reorder = 0.2});
  way.put_many(0, kFrames);
  way.wait(1s);
  const FaultCounters& c = way.faults.counters();
  EXPECT_EQ(way.out.size(), kFrames + c.duplicated);
  const double near = 2.5 * std::sqrt(kFrames * 0.2 * 0.8);
  EXPECT_NEAR(static_cast<double>(c.duplicated), kFrames * 0.2, near);
  EXPECT_NEAR(static_cast<double>(c.reordered), kFrames * 0.2, near);
  EXPECT_EQ(c.reordered, overtaken(way.out, kFrames));
}

TEST(Faults, WhereAllAreToBeReorderedOneOfManyPasses) {
  Way way({.reorder = 1});
  way.put_many(0, 650);
  way.wait(1s);
  EXPECT_EQ(way.out.size(), 650U);
  EXPECT_EQ(way.faults.counters().reordered, 640U);
  Way twice({.duplicate = 1, .reorder = 1});
  twice.put_many(0, 650);
  twice.wait(1s);
  EXPECT_EQ(twice.out.size(), 1300U);
  EXPECT_EQ(twice.faults.counters().reordered, 640U) << "a copy waits with its frame";
}

TEST(Faults, FramesThatLetOthersPassDoNotFillAShortQueue) {
  for (const std::size_t queue : {1U, 2U, 4U}) {
    SCOPED_TRACE(queue);
    Way way({.duplicate = 0.2, .reorder = 0.6, .queue_frames = queue});
    way.put_many(0, 1000, 1us);
    way.wait(1s);
    const FaultCounters& c = way.faults.counters();
    EXPECT_EQ(c.queue_full, 0U);
    EXPECT_EQ(way.out.size(), 1000 + c.duplicated);
    EXPECT_EQ(c.reordered > 0, queue > 1);
  }
}

TEST(Faults, AReorderedFrameThatNobodyFollowsGoesOnByItself) {
  Way way({.reorder = 1});
  way.put_many(0, 1);
  EXPECT_TRUE(way.out.empty());
  EXPECT_EQ(way.faults.waiting(), 1U);
  ASSERT_TRUE(way.faults.due());
  EXPECT_EQ(*way.faults.due(), way.now + 10ms);
  way.wait(10ms - 1ns);
  EXPECT_TRUE(way.out.empty());
  way.wait(1ns);
  EXPECT_EQ(way.out, made(0, 1));
  EXPECT_EQ(way.faults.counters().reordered, 0U) << "nobody overtook it";
}

TEST(Faults, AFrameThatIsReorderedIsNoEarlierThanItsDelay) {
  FaultOptions options{.delay = 10ms, .jitter = 9ms};
  Way by_delay(options);
  options.reorder = 0.5;
  Way reordered(options);
  std::map<Bytes, Time> due;
  for (Way* const way : {&by_delay, &reordered}) {
    way->put_many(0, 500, 1ms);
    for (int i = 0; i < 100; ++i) way->wait(1ms);
    ASSERT_EQ(way->out.size(), 500U);
  }
  for (std::size_t i = 0; i < 500; ++i) due[by_delay.out[i]] = by_delay.at[i];
  for (std::size_t i = 0; i < 500; ++i) EXPECT_GE(reordered.at[i], due.at(reordered.out[i])) << i;
}

TEST(Faults, FramesThatNobodyPassesGoOnEachAtItsOwnTime) {
  Way way({.reorder = 1});
  const Time begin = way.now;
  way.put_many(0, 3, 3ms);
  EXPECT_EQ(way.out, made(0, 0));
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(way.faults.due(), begin + 10ms + i * 3ms);
    way.wait(begin + 10ms + i * 3ms - 1ns - way.now);
    EXPECT_EQ(way.out, made(0, i));
    way.wait(1ns);
    EXPECT_EQ(way.out, made(0, i + 1));
  }
  EXPECT_FALSE(way.faults.due());
}

/// How many bits of two byte strings differ, as far as the shorter goes.
unsigned bits_changed(const Bytes& a, const Bytes& b) {
  unsigned changed = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    changed += static_cast<unsigned>(std::popcount(std::to_integer<unsigned>(a[i] ^ b[i])));
  }
  return changed;
}

TEST(Faults, AFrameThatIsCutHasTheChangedBitInWhatIsLeft) {
  Way way({.corrupt = 1, .truncate = 1});
  way.put_many(0, 200);
  ASSERT_EQ(way.out.size(), 200U);
  const std::vector<Bytes> sent = made(0, 200);
  for (std::size_t i = 0; i < 200; ++i) {
    ASSERT_LT(way.out[i].size(), 100U);
    ASSERT_EQ(bits_changed(sent[i], way.out[i]), 1U) << i;
  }
  EXPECT_EQ(way.faults.counters().truncated, 200U);
  EXPECT_EQ(way.faults.counters().corrupted, 200U);
}

TEST(Faults, CorruptionChangesOneBitBehindTheAddresses) {
  Way way({.corrupt = 1, .seed = 9});
  way.put_many(0, 2000, 0ns, 60);
  way.put(make_frame(14, 1));
  ASSERT_EQ(way.out.size(), 2001U);
  EXPECT_EQ(way.faults.counters().corrupted, 2001U);
  std::vector<unsigned> hits(60);
  for (std::uint32_t i = 0; i < 2001; ++i) {
    const Bytes sent = i < 2000 ? make_frame(60, i) : make_frame(14, 1);
    ASSERT_EQ(bits_changed(sent, way.out[i]), 1U);
    for (std::size_t b = 0; b < sent.size(); ++b) hits[b] += sent[b] != way.out[i][b] ? 1 : 0;
  }
  EXPECT_EQ(std::count(hits.begin(), hits.begin() + 12, 0U), 12) << "an address was changed";
  EXPECT_EQ(std::count(hits.begin() + 12, hits.end(), 0U), 0) << "a byte that is never hit";
}

TEST(Faults, TruncationTakesTheEndAndLeavesAHeader) {
  Way way({.truncate = 1});
  way.put_many(0, 500, 0ns, 60);
  way.put(make_frame(14, 1));
  ASSERT_EQ(way.out.size(), 501U);
  EXPECT_EQ(way.faults.counters().truncated, 500U) << "of 14 bytes nothing can go";
  std::size_t shortest = 60;
  std::size_t longest = 0;
  for (std::uint32_t i = 0; i < 500; ++i) {
    const Bytes sent = make_frame(60, i);
    ASSERT_LT(way.out[i].size(), 60U);
    ASSERT_TRUE(std::equal(way.out[i].begin(), way.out[i].end(), sent.begin()));
    shortest = std::min(shortest, way.out[i].size());
    longest = std::max(longest, way.out[i].size());
  }
  EXPECT_EQ(shortest, 14U);
  EXPECT_EQ(longest, 59U);
}

TEST(Faults, DelayHoldsEachFrameForItsTime) {
  Way way({.delay = 5ms});
  const Time begin = way.now;
  way.put_many(0, 1);
  way.wait(1ms);
  way.put_many(1, 1);
  EXPECT_EQ(way.faults.due(), begin + 5ms);
  way.wait(4ms - 1ns);
  EXPECT_TRUE(way.out.empty());
  way.wait(1ns);
  EXPECT_EQ(way.out, made(0, 1));
  way.wait(1ms);
  EXPECT_EQ(way.out, made(0, 2));
  EXPECT_FALSE(way.faults.due());
}

TEST(Faults, JitterSpreadsTheDelayEvenly) {
  Way way({.delay = 5ms, .jitter = 1ms});
  std::chrono::nanoseconds min = 1h;
  std::chrono::nanoseconds max = 0h;
  for (std::uint32_t i = 0; i < 400; ++i) {
    way.put_many(i, 1);
    const auto due = *way.faults.due() - way.now;
    min = std::min(min, due);
    max = std::max(max, due);
    way.wait(10ms);
  }
  EXPECT_GE(min, 4ms);
  EXPECT_LT(min, 4100us);
  EXPECT_LE(max, 6ms);
  EXPECT_GT(max, 5900us);
  EXPECT_EQ(way.out, made(0, 400));
}

/// What jitter makes of frames that come at that pace.
struct Jittered {
  double mean_ms = 0, deviation_ms = 0;
  std::uint64_t reordered = 0;  ///< behind one with a greater number
};
Jittered jittered(FaultOptions options, std::chrono::nanoseconds gap) {
  constexpr std::uint32_t kFrames = 4000;
  options.delay = 10ms;
  options.jitter = 5ms;
  Faults faults(options);
  std::vector<std::pair<std::uint32_t, double>> out;  // number and delay
  const auto take = [&](Time now) {
    FrameView view;
    while (faults.ready({&view, 1}, now) == 1) {
      std::uint32_t number = 0;
      std::memcpy(&number, view.bytes.data() + 20, sizeof number);
      const auto came = std::uint64_t{number} * static_cast<std::uint64_t>(gap.count()) + 1;
      out.emplace_back(number, static_cast<double>(view.time_ns - came) * 1e-6);
      faults.pop(1);
    }
  };
  for (std::uint32_t i = 0; i < kFrames; ++i) {
    Bytes bytes(60);
    std::memcpy(bytes.data() + 20, &i, sizeof i);
    FrameView frame(bytes.data(), bytes.size());
    frame.time_ns = std::uint64_t{i} * static_cast<std::uint64_t>(gap.count()) + 1;
    faults.put(frame, Time{1h} + i * gap);
    take(Time{1h} + i * gap);
  }
  take(Time{1000h});
  EXPECT_EQ(out.size(), kFrames);
  Jittered result;
  std::uint32_t max = 0;
  for (const auto& [number, ms] : out) {
    result.mean_ms += ms / kFrames;
    result.reordered += number < max ? 1 : 0;
    max = std::max(max, number);
  }
  for (const auto& [number, ms] : out) {
    result.deviation_ms += (ms - result.mean_ms) * (ms - result.mean_ms) / kFrames;
  }
  result.deviation_ms = std::sqrt(result.deviation_ms);
  EXPECT_EQ(faults.counters().reordered, result.reordered);
  return result;
}

TEST(Faults, JitterHasTheMeanAndTheSpreadThatWereAskedForAtAnyRate) {
  for (const std::chrono::nanoseconds gap : {50'000'000ns, 500'000ns, 50'000ns}) {
    const Jittered free = jittered({}, gap);
    EXPECT_NEAR(free.mean_ms, 10, 0.2) << gap.count();
    EXPECT_NEAR(free.deviation_ms, 5 / std::sqrt(3.0), 0.1) << gap.count();
    EXPECT_EQ(free.reordered > 0, gap < 10ms) << gap.count();
    const Jittered kept = jittered({.keep_order = true}, gap);
    EXPECT_EQ(kept.reordered, 0U) << gap.count();
    EXPECT_GE(kept.mean_ms, free.mean_ms) << gap.count();
    EXPECT_EQ(kept.mean_ms > 11, gap < 1ms) << "the order costs delay";
  }
}

TEST(Faults, ACopyComesWithItsFrameAndNothingOvertakesWhatCameBeforeAChange) {
  Way way({.duplicate = 1, .delay = 5ms, .jitter = 5ms});
  way.put_many(0, 300, 10us);
  way.faults.change({.delay = 1ms, .jitter = 1ms});
  way.put_many(300, 1);
  way.wait(1s);
  ASSERT_EQ(way.out.size(), 601U);
  for (std::size_t i = 0; i < 600; i += 2) EXPECT_EQ(way.out[i], way.out[i + 1]) << i;
  EXPECT_EQ(way.out.back(), make_frame(100, 300));
}

TEST(Faults, AQueueOfNoGivenLengthHoldsWhatTheDelayNeedsAndAThousandForTheBottleneck) {
  Way delayed({.delay = 1s});
  delayed.put_many(0, 20'000, 10us);
  EXPECT_EQ(delayed.faults.waiting(), 20'000U);
  EXPECT_EQ(delayed.faults.counters().queue_full, 0U);
  // 1 ms for a frame, which is then under way for 100 ms.
  Way line({.delay = 100ms, .rate_bps = 800'000});
  line.put_many(0, 1500);
  EXPECT_EQ(line.faults.counters().queue_full, 500U);
  line.wait(1s);
  line.put_many(1500, 1500);
  EXPECT_EQ(line.faults.counters().queue_full, 1000U);
  line.wait(12s);
  EXPECT_EQ(line.out.size(), 2000U);
}

TEST(Faults, WhatIsDelayedTakesNoMoreThan64MiBAndGivesThemBack) {
  const Bytes frame = make_frame(60'000, 1);
  for (const unsigned copies : {0U, 1U}) {
    SCOPED_TRACE(copies);
    Way way({.duplicate = static_cast<double>(copies), .delay = 1s});
    for (const std::uint64_t times : {1U, 2U}) {
      for (int i = 0; i < 1200; ++i) way.put(frame);
      const std::size_t waiting = way.faults.waiting();
      EXPECT_GT(waiting, 1100U);
      EXPECT_LE((waiting - copies) * frame.size(), kMaxFaultBytes);
      EXPECT_EQ(way.faults.counters().queue_full, times * (1200 - waiting / (1 + copies)));
      way.wait(1s);
      EXPECT_EQ(way.faults.waiting(), 0U);
    }
  }
}

TEST(Faults, ABottleneckSendsAtItsRateToTheBit) {
  // 3 Gbit/s and 100 bytes: 266 2/3 ns for a frame.
  Way way({.rate_bps = 3'000'000'000, .queue_frames = 10'000});
  const Time begin = way.now;
  for (std::uint32_t i = 0; i < 3000; ++i) way.put_many(i, 1);
  way.wait(800us - 1ns);
  EXPECT_EQ(way.out.size(), 2999U);
  way.wait(1ns);
  EXPECT_EQ(way.out, made(0, 3000));
  EXPECT_EQ(way.at.back(), begin + 800us);
  for (std::uint32_t i = 0; i < 3; ++i) {
    way.wait(1s);
    way.put_many(3000 + i, 1);
    EXPECT_EQ(way.faults.due(), way.now + 266ns) << "an idle line has saved nothing up";
  }
}

TEST(Faults, WhatFindsTheQueueFullIsDroppedAndCounted) {
  Way way({.delay = 1ms, .queue_frames = 10});
  way.put_many(0, 15);
  way.wait(1ms);
  EXPECT_EQ(way.out, made(0, 10));
  EXPECT_EQ(way.faults.counters().queue_full, 5U);
}

TEST(Faults, ACopyThatFindsTheQueueFullIsNotMade) {
  for (const std::size_t queue : {1U, 4U, 5U}) {
    SCOPED_TRACE(queue);
    Way way({.duplicate = 1, .delay = 1ms, .queue_frames = queue});
    way.put_many(0, 4);
    EXPECT_EQ(way.faults.waiting(), queue);
    const std::size_t entered = (queue + 1) / 2;
    EXPECT_EQ(way.faults.counters().queue_full, 4 - entered);
    EXPECT_EQ(way.faults.counters().duplicated, queue - entered);
    way.wait(1ms);
    EXPECT_EQ(way.out.size(), queue);
  }
}

TEST(Faults, WhatIsDroppedTakesNoTimeOfTheBottleneck) {
  Way way({.rate_bps = 800'000, .queue_frames = 2});  // 1 ms for a frame
  way.put_many(0, 5);
  EXPECT_EQ(way.faults.counters().queue_full, 3U);
  way.wait(2ms);
  EXPECT_EQ(way.out, made(0, 2));
  way.put_many(5, 1);
  EXPECT_EQ(way.faults.due(), way.now + 1ms);
}

TEST(Faults, EveryFrameIsAccountedForInAnyMixture) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    FaultOptions options{.loss = 0.1,
                         .duplicate = 0.1,
                         .reorder = 0.2,
                         .corrupt = 0.1,
                         .truncate = 0.1,
                         .bursts = FaultOptions::Bursts{0.05, 0.3, 0.9, 0.01},
                         .delay = 1ms,
                         .jitter = 1ms,
                         .rate_bps = 100'000'000,
                         .queue_frames = 60,
                         .seed = seed};
    Way way(options);
    for (std::uint32_t i = 0; i < 2000; ++i) way.put_many(i, 1, std::chrono::microseconds(i % 20));
    way.wait(1s);
    const FaultCounters& c = way.faults.counters();
    EXPECT_EQ(c.frames, 2000U);
    EXPECT_EQ(way.out.size(), c.frames - c.lost - c.queue_full + c.duplicated);
    EXPECT_EQ(way.faults.waiting(), 0U);
    EXPECT_GT(c.queue_full, 0U) << "the test never filled the queue";
    const auto shorter =
        std::ranges::count_if(way.out, [](const Bytes& b) { return b.size() < 100; });
    EXPECT_EQ(static_cast<std::uint64_t>(shorter), c.truncated);
  }
}

TEST(Faults, TheTimeOfAFrameIsWhenItComesOut) {
  Faults faults({.delay = 3ms});
  const Bytes bytes = make_frame(60, 1);
  FrameView frame(bytes.data(), bytes.size());
  frame.time_ns = 1'000'000'000;
  faults.put(frame, Time{1h});
  frame.time_ns = 0;
  faults.put(frame, Time{1h});
  std::array<FrameView, 2> out;
  ASSERT_EQ(faults.ready(out, Time{1h + 3ms}), 2U);
  EXPECT_EQ(out[0].time_ns, 1'003'000'000U);
  EXPECT_EQ(out[1].time_ns, 0U) << "unknown stays unknown";
}

/// The times at which `N` equal frames come out that came at once, at time 1 s of their own clock.
template <std::size_t N>
std::vector<std::uint64_t> times_behind(const FaultOptions& options) {
  Faults faults(options);
  const Bytes bytes = make_frame(60, 1);
  FrameView frame(bytes.data(), bytes.size());
  frame.time_ns = 1'000'000'000;
  for (std::size_t i = 0; i < N; ++i) faults.put(frame, Time{1h});
  std::array<FrameView, N> out;
  EXPECT_EQ(faults.ready(out, Time{1h + 10ms}), N);
  std::vector<std::uint64_t> times;
  for (const FrameView& each : out) times.push_back(each.time_ns);
  return times;
}

TEST(Faults, TheTimeOfAFrameHasItsWaitForTheBottleneckInIt) {
  // 1 ms for a frame.
  EXPECT_EQ(times_behind<3>({.delay = 3ms, .rate_bps = 480'000}),
            (std::vector<std::uint64_t>{1'004'000'000, 1'005'000'000, 1'006'000'000}));
}

TEST(Faults, AFrameThatWaitsForTheOneBeforeIsAsLateAsThat) {
  EXPECT_TRUE(std::ranges::is_sorted(times_behind<100>({.delay = 5ms, .jitter = 5ms})));
}

TEST(Faults, AChangeMakesNeitherAFrameEarlierThanTheOneBeforeNorTheBottleneckFree) {
  const FaultOptions options{.delay = 3ms, .rate_bps = 480'000};  // 1 ms for a frame
  Faults faults(options);
  const Bytes bytes = make_frame(60, 1);
  FrameView frame(bytes.data(), bytes.size());
  frame.time_ns = 1'000'000'000;
  faults.put(frame, Time{1h});
  faults.put(frame, Time{1h});
  faults.change(options);
  faults.put(frame, Time{1h});
  faults.change({});
  faults.put(frame, Time{1h});
  std::array<FrameView, 4> out;
  ASSERT_EQ(faults.ready(out, Time{1h + 10ms}), 4U);
  const std::uint64_t due[] = {1'004'000'000, 1'005'000'000, 1'006'000'000, 1'006'000'000};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(out[i].time_ns, due[i]) << i;
}

TEST(Faults, AFrameThatCameCutShortKeepsItsTrueLengthAndSoDoesItsCopy) {
  Faults faults({.duplicate = 1});
  const Bytes bytes = make_frame(60, 1);
  FrameView frame(bytes.data(), bytes.size());
  frame.true_bytes = 1400;
  faults.put(frame, Time{1h});
  std::array<FrameView, 2> out;
  ASSERT_EQ(faults.ready(out, Time{1h}), 2U);
  for (const FrameView& each : out) EXPECT_EQ(each.true_bytes, 1400U);
}

}  // namespace
}  // namespace shmif::test
