// Each figure of an interval comes from what was counted in it, and no two counts are alike.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "perf/control/gather.hpp"
#include "perf/worker/interval_recorder.hpp"
#include "tests/perf/report/own_figures.hpp"

namespace shmif::perf::interval_figures {
namespace {

constexpr std::uint64_t kRunStart = 5'000'000'000;

TEST(IntervalFigures, AreEachOfItsIntervalAlone) {
  const auto memory = RunMemory::create(1).value();
  JobBlock& job = memory->job(0);
  IntervalRecorder recorder(job, kRunStart, 100'000'000);
  recorder.sent(11, 1'300);
  recorder.received(17, 1'900);
  recorder.lost(23);
  for (int i = 0; i < 5; ++i) recorder.overrun();
  for (std::uint64_t ns = 1; ns <= 100; ++ns) recorder.latency(ns);
  recorder.close(kRunStart + 100'000'000);
  recorder.sent(29, 3'100);
  recorder.received(37, 4'100);
  recorder.lost(43);
  for (int i = 0; i < 7; ++i) recorder.overrun();
  for (std::uint64_t ns = 101; ns <= 120; ++ns) recorder.latency(ns);
  recorder.border(kRunStart + 250'000'000);
  recorder.close(kRunStart + 300'000'000);
  ASSERT_EQ(job.intervals_written.load(), 3U);

  const IntervalResult first = job.intervals[0].get();
  EXPECT_DOUBLE_EQ(first.at_seconds, 0.1);
  EXPECT_DOUBLE_EQ(first.seconds, 0.1);
  EXPECT_EQ(first.tx_frames, 11U);
  EXPECT_EQ(first.tx_bytes, 1'300U);
  EXPECT_EQ(first.rx_frames, 17U);
  EXPECT_EQ(first.rx_bytes, 1'900U);
  EXPECT_EQ(first.lost_frames, 23U);
  EXPECT_EQ(first.overruns, 5U);
  EXPECT_EQ(first.latency_count, 100U);
  EXPECT_EQ(first.latency_mean_ns, 50.5);
  EXPECT_EQ(first.latency_p50_ns, 50);
  EXPECT_EQ(first.latency_p99_ns, 99);
  EXPECT_EQ(first.latency_max_ns, 100);
  EXPECT_FALSE(first.ends_at_border);

  const IntervalResult second = job.intervals[1].get();
  EXPECT_DOUBLE_EQ(second.at_seconds, 0.25);
  EXPECT_DOUBLE_EQ(second.seconds, 0.15);
  EXPECT_EQ(second.tx_frames, 29U);
  EXPECT_EQ(second.tx_bytes, 3'100U);
  EXPECT_EQ(second.rx_frames, 37U);
  EXPECT_EQ(second.rx_bytes, 4'100U);
  EXPECT_EQ(second.lost_frames, 43U);
  EXPECT_EQ(second.overruns, 7U);
  EXPECT_EQ(second.latency_count, 20U);
  EXPECT_EQ(second.latency_mean_ns, 110.5);
  EXPECT_EQ(second.latency_p50_ns, 110);
  EXPECT_EQ(second.latency_p99_ns, 120);
  EXPECT_EQ(second.latency_max_ns, 120);
  EXPECT_TRUE(second.ends_at_border);

  const IntervalResult third = job.intervals[2].get();
  EXPECT_DOUBLE_EQ(third.seconds, 0.05);
  EXPECT_EQ(third.tx_frames + third.tx_bytes + third.rx_frames + third.rx_bytes, 0U);
  EXPECT_EQ(third.lost_frames + third.overruns + third.latency_count, 0U);
  EXPECT_FALSE(third.latency_mean_ns || third.latency_p50_ns || third.latency_p99_ns ||
               third.latency_max_ns);
}

TEST(IntervalFigures, APercentileIsTooHighByOneBucketAtMost) {
  const auto memory = RunMemory::create(1).value();
  JobBlock& job = memory->job(0);
  IntervalRecorder recorder(job, kRunStart, 100'000'000);
  for (std::uint64_t i = 1; i <= 1000; ++i) recorder.latency(i * 1'000);
  recorder.close(kRunStart + 100'000'000);
  const IntervalResult all = job.intervals[0].get();
  EXPECT_GE(*all.latency_p50_ns, 500'000);
  EXPECT_LE(*all.latency_p50_ns, 500'000 * (1 + 1.0 / 64));
  EXPECT_GE(*all.latency_p99_ns, 990'000);
  EXPECT_LE(*all.latency_p99_ns, 1'000'000);
}

TEST(IntervalFigures, OfTcpAreTheKernels) {
  const auto memory = RunMemory::create(1).value();
  IntervalBlock& block = memory->job(0).intervals[0];
  IntervalResult interval;
  test::OwnValues own;
  test::fill_figures(interval.tcp.emplace(), own);
  block.set(interval);
  const auto tcp = block.get().tcp;
  ASSERT_TRUE(tcp);
  EXPECT_NE(tcp->retransmits, 0U);
  for_each_member<TcpSample>([&](const auto& row, auto member) {
    EXPECT_EQ((*tcp).*member, (*interval.tcp).*member) << row.key;
  });
  interval.tcp.reset();
  block.set(interval);
  EXPECT_FALSE(block.get().tcp) << "the figures of an older interval in its place";
}

TEST(IntervalFigures, OfTcpInSeveralAreTheLatestAndAllThatWasSentAgain) {
  IntervalResult sum;
  IntervalResult next;
  next.seconds = 1;
  next.tcp = TcpSample{.retransmits = 3, .rtt_ns = 50};
  extend(sum, next);
  next.tcp = TcpSample{.retransmits = 4, .rtt_ns = 70, .cwnd_bytes = 9};
  extend(sum, next);
  ASSERT_TRUE(sum.tcp);
  EXPECT_EQ(sum.tcp->retransmits, 7U);
  EXPECT_EQ(sum.tcp->rtt_ns, 70U);
  EXPECT_EQ(sum.tcp->cwnd_bytes, 9U);
  next.tcp.reset();
  extend(sum, next);
  ASSERT_TRUE(sum.tcp) << "the kernel did not tell the last time";
  EXPECT_EQ(sum.tcp->retransmits, 7U);
}

TEST(IntervalFigures, CpuTimeIsKnownExactlyOrNotAtAll) {
  const auto memory = RunMemory::create(1).value();
  IntervalBlock& block = memory->job(0).intervals[0];
  block.set({});
  EXPECT_FALSE(block.get().cpu_user_seconds);
  EXPECT_FALSE(block.get().cpu_system_seconds);
  IntervalResult interval;
  interval.cpu_user_seconds = 0;
  interval.cpu_system_seconds = 0.500'000'001;
  block.set(interval);
  EXPECT_EQ(block.get().cpu_user_seconds, 0);
  EXPECT_EQ(block.get().cpu_system_seconds, 0.500'000'001);
}

}  // namespace
}  // namespace shmif::perf::interval_figures
