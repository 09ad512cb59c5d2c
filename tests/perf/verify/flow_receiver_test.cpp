#include "perf/verify/flow_receiver.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

namespace shmif::perf {
namespace {

using Gaps = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

constexpr std::uint64_t kStart = 1'000'000;
constexpr std::uint64_t kStep = 1000;  // ns from one frame to the next

Probe probe(std::uint64_t sequence) {
  return {.flow = 3,
          .sequence = sequence,
          .intended_ns = kStart + sequence * kStep,
          .sent_ns = kStart + sequence * kStep + 10};
}

void receive(FlowReceiver& receiver, std::uint64_t sequence, std::uint64_t latency_ns = 500) {
  const Probe p = probe(sequence);
  receiver.note(p, 64, p.intended_ns + latency_ns);
}

TEST(FlowReceiver, CountsLossesRepeatsAndOvertakingExactly) {
  FlowReceiver receiver({});
  for (const std::uint64_t n : {0U, 1U, 1U, 3U, 2U, 7U, 7U, 7U}) receive(receiver, n);
  EXPECT_EQ(receiver.counts().lost_so_far(), 3U) << "4, 5 and 6, as far as is known";
  const FlowResult result = receiver.result({.frames = 10});
  EXPECT_EQ(result.received, 5U);
  EXPECT_EQ(result.lost, 5U);
  EXPECT_EQ(result.duplicates, 3U);
  EXPECT_EQ(result.reordered, 1U);
  EXPECT_EQ(result.gaps, (Gaps{{4, 7}, {8, 10}}));
  EXPECT_EQ(receiver.result({.frames = 10}, 1).gaps, (Gaps{{4, 7}}));
}

TEST(FlowReceiver, TheRampEntersNoFigureAndIsSplitFrameForFrame) {
  LatencyHistogram latency;
  FlowReceiver receiver({.measure_from_ns = kStart + 10 * kStep, .latency = &latency});
  // 10 frames of the ramp, of which 2 are lost, one comes twice and one after the first measured.
  for (const std::uint64_t n : {0U, 1U, 3U, 3U, 5U, 6U, 7U, 8U, 10U, 9U, 11U, 12U, 14U, 11U}) {
    receive(receiver, n);
  }
  const FlowCounts& counts = receiver.counts();
  EXPECT_EQ(counts.ramp_received, 8U);
  EXPECT_EQ(counts.bytes, 4U * 64);
  EXPECT_EQ(counts.lost_so_far(), 1U);
  const FlowResult result = receiver.result({.ramp_frames = 10, .frames = 6});
  EXPECT_EQ(result.received, 4U);
  EXPECT_EQ(result.lost, 2U);
  EXPECT_EQ(result.duplicates, 1U);
  EXPECT_EQ(result.reordered, 0U);
  EXPECT_EQ(result.gaps, (Gaps{{13, 14}, {15, 16}}));
  EXPECT_EQ(latency.count(), 4U);
  EXPECT_EQ(receiver.ledger().gaps(0, receiver.ledger().end(), SIZE_MAX),
            (std::vector<SequenceLedger::Gap>{{2, 3}, {4, 5}, {13, 14}}))
      << "the ledger knows all of them";
}

TEST(FlowReceiver, AfterTheDrainFramesAreLateNeitherReceivedNorLost) {
  LatencyHistogram latency;
  FlowReceiver receiver({.latency = &latency});
  for (const std::uint64_t n : {0U, 1U, 4U}) receive(receiver, n);
  receiver.end_drain(0);
  receive(receiver, 2);
  receive(receiver, 2);
  receive(receiver, 1);
  const FlowResult result = receiver.result({.frames = 6});
  EXPECT_EQ(result.received, 3U);
  EXPECT_EQ(result.late, 1U);
  EXPECT_EQ(result.lost, 2U);
  EXPECT_EQ(result.duplicates, 2U);
  EXPECT_EQ(result.gaps, (Gaps{{3, 4}, {5, 6}}));
  EXPECT_EQ(latency.count(), 3U) << "a late one enters no figure";
  EXPECT_EQ(receiver.counts().lost_so_far(), 1U);
}

TEST(FlowReceiver, LatencyIsFromTheIntendedTimeAndServiceFromTheRealOne) {
  LatencyHistogram latency;
  LatencyHistogram service;
  FlowReceiver receiver({.latency = &latency, .service = &service});
  receive(receiver, 0, 100);
  receive(receiver, 1, 200);
  receive(receiver, 1, 9000);
  EXPECT_EQ(latency.count(), 2U) << "a duplicate enters no figure";
  EXPECT_EQ(latency.min(), 100U);
  EXPECT_EQ(latency.max(), 200U);
  EXPECT_EQ(service.min(), 90U);
  EXPECT_EQ(service.max(), 190U);
  const Probe ahead = probe(2);
  receiver.note(ahead, 64, ahead.intended_ns - 5);  // a clock of another machine
  EXPECT_EQ(latency.min(), 0U);
}

TEST(FlowReceiver, JitterIsThatOfRfc3550) {
  FlowReceiver receiver({});
  EXPECT_FALSE(receiver.result({}).jitter_ns.has_value());
  const std::array<std::uint64_t, 5> latencies{1000, 1160, 1160, 1000, 5000};
  double expected = 0;
  for (std::uint64_t n = 0; n < latencies.size(); ++n) {
    receive(receiver, n, latencies[n]);
    if (n == 0) continue;
    const double change =
        std::abs(static_cast<double>(latencies[n]) - static_cast<double>(latencies[n - 1]));
    expected += (change - expected) / 16;
  }
  ASSERT_TRUE(receiver.result({}).jitter_ns.has_value());
  EXPECT_DOUBLE_EQ(*receiver.result({}).jitter_ns, expected);
  FlowReceiver constant({});
  for (std::uint64_t n = 0; n < 100; ++n) receive(constant, n, 700);
  EXPECT_EQ(*constant.result({}).jitter_ns, 0);
}

/// A receiver with histograms of its own.
struct Timed {
  explicit Timed(std::uint64_t measure_from_ns)
      : receiver({.flow = 3,
                  .measure_from_ns = measure_from_ns,
                  .latency = latency.get(),
                  .service = service.get()}) {}
  std::unique_ptr<LatencyHistogram> latency = std::make_unique<LatencyHistogram>();
  std::unique_ptr<LatencyHistogram> service = std::make_unique<LatencyHistogram>();
  FlowReceiver receiver;
};

TEST(FlowReceiver, NotesATrainAsItsFramesOneByOne) {
  Timed at_once(kStart + 100 * kStep);
  Timed one_by_one(kStart + 100 * kStep);
  std::mt19937 random(5);
  std::uint64_t next = 0;
  std::size_t trains = 0;
  std::uint64_t now = kStart;
  while (next < 3000) {
    next += random() % 5 == 0 ? random() % 3 : 0;
    std::vector<ProbeTimes> times(1 + random() % 130);
    std::uint64_t due = kStart + next * kStep;
    for (ProbeTimes& each : times) {
      if (random() % 40 == 0) due += random() % 900;  // mostly equal times, as without a pace
      each = {due, due + 10};
    }
    now = due + 500 + random() % 3000;
    const ProbeTrain train{.flow = 3, .first = next, .bytes = 64 * times.size(), .times = times};
    const auto period = at_once.receiver.note_train(train, now);
    for (std::size_t i = 0; i < train.frames(); ++i) {
      if (!period) at_once.receiver.note(train.probe(i), 64, now);
      one_by_one.receiver.note(train.probe(i), 64, now);
    }
    trains += period ? 1 : 0;
    next += times.size();
    const FlowCounts& counts = at_once.receiver.counts();
    const FlowCounts& expected = one_by_one.receiver.counts();
    ASSERT_EQ(counts.received, expected.received);
    ASSERT_EQ(counts.bytes, expected.bytes);
    ASSERT_EQ(counts.ramp_received, expected.ramp_received);
    ASSERT_EQ(counts.begin, expected.begin);
    ASSERT_EQ(counts.end, expected.end);
  }
  EXPECT_GT(trains, 30U);
  for (const auto& [got, wanted] : {std::pair(&*at_once.latency, &*one_by_one.latency),
                                    std::pair(&*at_once.service, &*one_by_one.service)}) {
    EXPECT_EQ(got->count(), wanted->count());
    EXPECT_EQ(got->mean(), wanted->mean());
    EXPECT_EQ(got->deviation(), wanted->deviation());
    for (std::uint64_t rank = 1; rank < wanted->count(); rank += 17) {
      ASSERT_EQ(got->at_rank(rank), wanted->at_rank(rank));
    }
  }
  const FlowResult result = at_once.receiver.result({.frames = 4000}, 1000);
  const FlowResult expected = one_by_one.receiver.result({.frames = 4000}, 1000);
  EXPECT_EQ(result.gaps, expected.gaps);
  EXPECT_EQ(result.lost, expected.lost);
  EXPECT_NEAR(*result.jitter_ns, *expected.jitter_ns, *expected.jitter_ns * 1e-9);
  EXPECT_GT(*result.jitter_ns, 0.1);
}

TEST(FlowReceiver, GoesOnFromWhatAnEarlierRunReceived) {
  SequenceLedger before;
  for (std::uint64_t n = 0; n < 100; ++n) before.note(n);
  FlowReceiver receiver({}, std::move(before));
  receive(receiver, 99);
  for (std::uint64_t n = 100; n < 110; ++n) {
    if (n != 105) receive(receiver, n);
  }
  const FlowResult result = receiver.result({.first = 100, .frames = 10});
  EXPECT_EQ(result.received, 9U);
  EXPECT_EQ(result.lost, 1U);
  EXPECT_EQ(result.duplicates, 1U);
  EXPECT_EQ(result.gaps, (Gaps{{105, 106}}));
}

TEST(FlowReceiver, DamagedAndUncheckedFramesAreCounted) {
  FlowReceiver receiver({});
  receive(receiver, 0);
  receiver.note_damaged(Finding::corrupt, std::nullopt, 0);
  receiver.note_damaged(Finding::truncated, std::nullopt, 0);
  receiver.note_damaged(Finding::truncated, std::nullopt, 0);
  receive(receiver, 4);
  receiver.note_unverified(probe(5));
  const FlowResult result = receiver.result({.frames = 7});
  EXPECT_EQ(result.corrupt, 1U) << "nobody knows which number a damaged frame had";
  EXPECT_EQ(result.truncated, 2U);
  EXPECT_EQ(result.unverified, 1U);
  EXPECT_EQ(result.lost, 1U);
  EXPECT_FALSE(result.verification_complete);
}

std::uint64_t fates(const FlowResult& r) {
  return r.received + r.lost + r.corrupt + r.truncated + r.late + r.cancelled + r.unverified;
}

TEST(FlowReceiver, EachFrameHasOneFateWhateverCopiesCameOfIt) {
  constexpr auto kNoNumber = std::nullopt;
  FlowReceiver receiver({});
  receive(receiver, 0);
  receiver.note_damaged(Finding::corrupt, probe(0), 0);  // a copy of one that came whole
  receiver.note_damaged(Finding::corrupt, probe(1), 0);  // before the whole one
  receive(receiver, 1);
  receiver.note_damaged(Finding::truncated, probe(2), 0);  // the first decides
  receiver.note_damaged(Finding::corrupt, probe(2), 0);
  receiver.note_damaged(Finding::corrupt, probe(3), 0);
  receiver.note_damaged(Finding::corrupt, probe(3), 0);
  receiver.note_damaged(Finding::truncated, kNoNumber, 0);  // 4, or 5
  receive(receiver, 6);
  receive(receiver, 6);
  receiver.note_damaged(Finding::corrupt, probe(99), 0);  // a number that was never sent
  const FlowResult result = receiver.result({.frames = 7});
  EXPECT_EQ(result.received, 3U);
  EXPECT_EQ(result.corrupt, 1U);
  EXPECT_EQ(result.truncated, 2U);
  EXPECT_EQ(result.lost, 1U);
  EXPECT_EQ(fates(result), result.sent);
  EXPECT_EQ(result.duplicates, 1U);
  EXPECT_EQ(result.corrupt_copies, 5U);
  EXPECT_EQ(result.truncated_copies, 0U);
}

TEST(FlowReceiver, WhatWasSentIsReceivedLateCancelledOrLostWhateverTheWireDoes) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const std::uint64_t ramp = random() % 500;
    const std::uint64_t measured = 1 + random() % 100'000;
    FlowReceiver receiver({.measure_from_ns = kStart + ramp * kStep});
    std::vector<std::uint64_t> stream;
    std::uint64_t lost = 0;
    std::uint64_t twice = 0;
    for (std::uint64_t n = 0; n < ramp + measured; ++n) {
      const std::uint64_t fate = random() % 100;
      const bool counts = n >= ramp;
      if (fate < 3) lost += counts ? 1 : 0;
      if (fate < 3) continue;
      stream.push_back(n);
      if (fate > 95) stream.push_back(n);
      if (fate > 95) twice += counts ? 1 : 0;
    }
    for (std::size_t i = 0; i + 50 < stream.size(); i += 7) {
      std::swap(stream[i], stream[i + random() % 50]);
    }
    const std::size_t drained = stream.size() - random() % (stream.size() / 2 + 1);
    for (std::size_t i = 0; i < stream.size(); ++i) {
      if (i == drained) receiver.end_drain(0);
      receive(receiver, stream[i]);
    }
    const FlowResult result = receiver.result({.ramp_frames = ramp, .frames = measured});
    EXPECT_EQ(result.lost, lost);
    EXPECT_EQ(result.duplicates, twice);
    EXPECT_EQ(result.received + result.late + result.lost, measured);
    std::uint64_t in_gaps = 0;
    for (const auto& gap : receiver.ledger().gaps(ramp, ramp + measured, SIZE_MAX)) {
      in_gaps += gap.to - gap.from;
    }
    EXPECT_EQ(in_gaps, lost);
    EXPECT_EQ(result.unexplained, 0U);
  }
}

}  // namespace
}  // namespace shmif::perf
