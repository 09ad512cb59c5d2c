// What an interval keeps of its latencies: bins for a log, and percentiles.

#include "perf/worker/interval_recorder.hpp"

#include <gmock/gmock.h>

#include <array>
#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "perf/result/progress.hpp"
#include "perf/worker/run_memory.hpp"
#include "tests/perf/report/figures.hpp"

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

// ---- The figures of an interval ----

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
  EXPECT_EQ(recorder.next_ns(), kRunStart + 300'000'000) << "none moves those after it";
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

TEST(IntervalFigures, OfSeveralHaveNoFrameLostThatCameLater) {
  IntervalResult sum;
  IntervalResult next;
  next.lost_frames = 5;
  extend(sum, next);
  next.lost_frames = 0;
  next.found_frames = 7;  // two were lost before
  extend(sum, next);
  EXPECT_EQ(sum.lost_frames, 0U);
  EXPECT_EQ(sum.found_frames, 2U);
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

// ---- A TCP connection ----

/// An end whose connection has the state that the test sets.
class ConnectedEnd : public End {
 public:
  TcpState state;
  bool says = true;

  SendResult send(std::span<const FrameView>) noexcept override { return {}; }
  ReceiveResult receive(FrameBatch&) noexcept override { return {}; }
  void wait(std::chrono::nanoseconds) noexcept override {}
  void wait_to_send(std::chrono::nanoseconds) noexcept override {}
  std::size_t max_frame_bytes() noexcept override { return kMaxFrameBytes; }
  std::string address() override { return "told"; }
  std::optional<TcpState> tcp() noexcept override {
    return says ? std::optional(state) : std::nullopt;
  }
};

TEST(TcpWatch, AnIntervalHasTheRetransmitsSinceTheOneBeforeAndTheWindowItsOwn) {
  ConnectedEnd end;
  const auto job = std::make_unique<JobBlock>();
  TcpWatch watch(end, *job);
  const auto retransmits_of_interval = [&](std::uint64_t so_far) {
    end.state.retransmits = so_far;
    return watch.close().value().retransmits;
  };
  EXPECT_EQ(retransmits_of_interval(2), 2U);
  watch.begin_window();
  EXPECT_EQ(retransmits_of_interval(5), 3U);
  EXPECT_EQ(retransmits_of_interval(5), 0U);
  end.state.retransmits = 6;
  watch.end_window();
  EXPECT_EQ(retransmits_of_interval(9), 4U);
  EXPECT_EQ(job->tcp.get().retransmits, 4U);
}

TEST(TcpWatch, TheWindowHasTheLeastTheMeanAndTheGreatestOfItsSamplesAlone) {
  ConnectedEnd end;
  const auto job = std::make_unique<JobBlock>();
  TcpWatch watch(end, *job);
  const auto sample = [&](std::uint64_t rtt_ns, std::uint64_t cwnd_bytes) {
    end.state.rtt_ns = rtt_ns;
    end.state.cwnd_bytes = cwnd_bytes;
    (void)watch.close();
  };
  sample(1, 9999);  // in the ramp
  watch.begin_window();
  sample(300, 50);
  sample(500, 70);
  end.state.rtt_ns = 400;
  end.state.cwnd_bytes = 60;
  watch.end_window();
  sample(2, 8888);  // after it
  const TcpResult window = job->tcp.get();
  EXPECT_EQ(window.samples, 3U);
  EXPECT_EQ(window.rtt_ns_min, 300U);
  EXPECT_EQ(window.rtt_ns_max, 500U);
  EXPECT_EQ(window.rtt_ns_mean, 400U);
  EXPECT_EQ(window.cwnd_bytes_max, 70U);
}

}  // namespace
}  // namespace shmif::perf::interval_recorder
