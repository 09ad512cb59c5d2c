// Each figure of an interval comes from what was counted in it, and no two counts are alike.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "perf/result/progress.hpp"
#include "perf/worker/interval_recorder.hpp"
#include "tests/perf/report/figures.hpp"

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
  const auto figures = [&](std::size_t n) {
    const IntervalResult i = job.intervals[n].get();
    EXPECT_EQ(i.ends_at_border, n == 1);
    return std::vector<double>{i.at_seconds,
                               i.seconds,
                               static_cast<double>(i.tx_frames),
                               static_cast<double>(i.tx_bytes),
                               static_cast<double>(i.rx_frames),
                               static_cast<double>(i.rx_bytes),
                               static_cast<double>(i.lost_frames),
                               static_cast<double>(i.overruns),
                               static_cast<double>(i.latency_count),
                               i.latency_mean_ns.value_or(-1),
                               i.latency_p50_ns.value_or(-1),
                               i.latency_p99_ns.value_or(-1),
                               i.latency_max_ns.value_or(-1)};
  };
  const auto are = [](const std::vector<double>& wanted) {
    return testing::Pointwise(testing::DoubleEq(), wanted);
  };
  EXPECT_THAT(figures(0), are({0.1, 0.1, 11, 1300, 17, 1900, 23, 5, 100, 50.5, 50, 99, 100}));
  EXPECT_THAT(figures(1), are({0.25, 0.15, 29, 3100, 37, 4100, 43, 7, 20, 110.5, 110, 120, 120}));
  EXPECT_THAT(figures(2), are({0.3, 0.05, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1}));
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
