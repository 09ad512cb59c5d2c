// What an interval keeps of its latencies: bins for a log, and percentiles.

#include "perf/worker/interval_recorder.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>

#include "perf/worker/run_memory.hpp"

namespace shmif::perf::interval_recorder {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kBegin = 100 * kSecond;

TEST(IntervalsOfAJob, TheLastBinOfAHistogramHasItsOwnLatenciesAndAllLongerOnes) {
  constexpr std::array<std::size_t, 1> kLogged{0};
  const auto memory = RunMemory::create(1, kLogged).value();
  JobBlock& job = memory->job(0);
  IntervalRecorder recorder(job, kBegin, 100);
  constexpr std::uint64_t kLast = std::uint64_t{127} << 27U;  // 17 s
  for (const std::uint64_t ns : {kLast - 1, kLast, 2 * kLast, 3600 * kSecond}) recorder.latency(ns);
  recorder.close(kBegin + 100);
  recorder.latency(127);
  recorder.close(kBegin + 200);
  const HistogramBlock& first = job.histograms[0];
  EXPECT_EQ(first[kHistogramBins - 2], 1U);
  EXPECT_EQ(first[kHistogramBins - 1], 3U);
  const HistogramBlock& second = job.histograms[1];
  EXPECT_EQ(second[127], 1U);
  EXPECT_EQ(second[kHistogramBins - 1], 0U);
}

/// Of this thread, in nanoseconds.
std::uint64_t cpu_time_used() {
  const CpuTime now = cpu_time_of(Usage::Of::thread);
  return now.user_ns + now.system_ns;
}

TEST(IntervalsOfAJob, EachHasTheCpuTimeThatItsOwnerUsedInIt) {
  const auto memory = RunMemory::create(1).value();
  JobBlock& job = memory->job(0);
  IntervalRecorder nobodys(job, kBegin, 100);
  nobodys.close(kBegin + 100);
  EXPECT_FALSE(job.intervals[0].get().cpu_user_seconds);
  // What this thread uses until it has used 20 ms, and then next to nothing.
  const auto memory_of_thread = RunMemory::create(1).value();
  JobBlock& own = memory_of_thread->job(0);
  IntervalRecorder recorder(own, kBegin, 100, nullptr, Usage::Of::thread);
  constexpr double kBusy = 20'000'000;
  const auto begin = static_cast<double>(cpu_time_used());
  while (static_cast<double>(cpu_time_used()) < begin + kBusy) {
  }
  recorder.close(kBegin + 100);
  recorder.close(kBegin + 200);
  const auto of = [&](std::size_t n) {
    const IntervalResult interval = own.intervals[n].get();
    return (interval.cpu_user_seconds.value() + interval.cpu_system_seconds.value()) * 1e9;
  };
  EXPECT_GE(of(0), kBusy);
  EXPECT_GE(of(1), 0);
  EXPECT_LT(of(1), kBusy);
}

TEST(IntervalsOfAJob, NoPercentileIsLongerThanTheLongestLatencyNorTooLow) {
  const auto memory = RunMemory::create(1).value();
  JobBlock& job = memory->job(0);
  IntervalRecorder recorder(job, kBegin, 100);
  std::uint64_t end = kBegin;
  std::uint64_t number = 0;
  for (const std::uint64_t ns : {1UL, 63UL, 64UL, 127UL, 128UL, 129UL, 1'000'001UL, 20 * kSecond}) {
    recorder.latency(ns);
    recorder.close(end += 100);
    const IntervalResult only = job.intervals[number++].get();
    EXPECT_EQ(only.latency_p50_ns, ns);
    EXPECT_EQ(only.latency_p99_ns, ns);
    EXPECT_EQ(only.latency_max_ns, ns);
  }
  // Of 200 values the median is the 100th, and the 99th percentile the 198th.
  for (std::uint64_t i = 1; i <= 200; ++i) recorder.latency(i <= 100 ? 10 : i <= 198 ? 20 : 30);
  recorder.close(end += 100);
  EXPECT_EQ(job.intervals[number].get().latency_p50_ns, 10U);
  EXPECT_EQ(job.intervals[number++].get().latency_p99_ns, 20U);
  for (std::uint64_t i = 1; i <= 201; ++i) recorder.latency(i <= 100 ? 10 : i <= 198 ? 20 : 30);
  recorder.close(end += 100);
  EXPECT_EQ(job.intervals[number].get().latency_p50_ns, 20U);
  EXPECT_EQ(job.intervals[number].get().latency_p99_ns, 30U);
}

}  // namespace
}  // namespace shmif::perf::interval_recorder
