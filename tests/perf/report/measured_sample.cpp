#include "tests/perf/report/measured_sample.hpp"

#include "bus/layout.hpp"
#include "perf/result/heat_of_job.hpp"
#include "perf/result/memory_of_run.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::test {

using namespace shmif::perf;  // NOLINT(google-build-using-namespace): makes nothing but its types

RunResult counted_sample() {
  RunResult run = quiet_sample();
  JobResult& job = run.jobs.front();
  job.tx.frames = 2000;
  job.rx.frames = 0;
  job.counters = {
      {"task-clock", 3e6, "ns", false, 3'000'000, 3'000'000, "linux/perf_event.h", ""},
      {"cycles", 4e6, "", true, 3'000'000, 1'500'000, "linux/perf_event.h", ""},
      {"instructions", 10e6, "", false, 3'000'000, 3'000'000, "linux/perf_event.h", ""},
      {"cache-misses", {}, "", false, 0, 0, "linux/perf_event.h", "not supported: no such event"}};
  const CounterInterval::Count missing{{}, false, "not supported: no such event"};
  job.counter_intervals = {
      {1, 1, {{1e6, false, ""}, {1e6, true, ""}, {4e6, false, ""}, missing}},
      {2.5, 1.5, {{2e6, false, ""}, {{}, false, "no free counter"}, {6e6, false, ""}, missing}}};
  return run;
}

RunResult measured_sample() {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  RunResult run = quiet_sample();
  // The windows are from 2 s to 4 s of the run. The rates of the jobs' own windows are no help.
  for (JobResult& job : run.jobs) {
    job.intervals.clear();
    for (int end = 1; end <= 5; ++end) {
      IntervalResult interval;
      interval.at_seconds = end;
      interval.seconds = 1;
      interval.tx_frames = 70;
      job.intervals.push_back(interval);
    }
  }
  run.jobs.back().intervals[2].rx_frames = 1200;
  run.jobs.back().intervals[3].rx_frames = 800;
  run.jobs.back().intervals[4].rx_frames = 5000;
  auto memory = std::make_shared<MemoryOfRun>();
  memory->start_ns = 5 * kSecond;
  MemorySummary bus;
  bus.source = "software";
  bus.part = "bus";
  bus.origin = "/dev/shm/bus0";
  bus.level = MemoryLevel::copied;
  bus.window_s = 2;
  bus.samples = 2;
  bus.rates.reads = 1e6;
  bus.rates.writes = 2e6;
  bus.rates.total = 3e6;
  MemorySummary pmu;
  pmu.source = "pmu";
  pmu.origin = "/sys";
  pmu.rates = MemoryRates::not_measured("no PMU of a memory controller");
  memory->measured.sources = {bus, pmu};
  for (std::size_t number = 1; number <= 2; ++number) {
    MemoryReading of_bus;
    of_bus.begin_ns = (6 + number) * kSecond;
    of_bus.end_ns = (7 + number) * kSecond;
    of_bus.reads = 1e6;
    of_bus.writes = 2e6;
    of_bus.total = 3e6;
    MemoryReading of_pmu;
    of_pmu.reason = "no PMU of a memory controller";
    memory->measured.samples.push_back({number, 0, {of_bus, of_pmu}});
  }
  run.membw = memory;
  return run;
}

RunResult heated_sample() {
  constexpr std::uint64_t kRingBytes = 1U << 20U;
  constexpr std::uint64_t kAt = 1U << 30U;
  constexpr std::uint64_t kRingAt = kAt + bus::kRingOffset;
  constexpr std::uint64_t kPage = 4096;
  RunResult run = quiet_sample();
  HeatOfJob sender;
  sender.provenance = {"client", "page", "userfaultfd", ""};
  sender.mapping = "bulk@/dev/shm/bus0";
  sender.history.emplace(kRingBytes, kPage, 1.0);
  for (int second = 0; second < 4; ++second) {
    HeatWindow window{static_cast<double>(second), second + 1.0, 10, 0, {}};
    const std::uint64_t bytes = second < 2 ? kRingBytes / 4 : kRingBytes;
    window.regions = {{kAt, kAt + kPage, 5, 0, 0}, {kRingAt, kRingAt + bytes, 10, 10, 0}};
    sender.history->add(window, {kAt, kRingAt + 2 * kRingBytes});
  }
  HeatOfJob receiver;
  receiver.reason = "it is on no bus";
  run.jobs.front().heat = std::make_shared<const HeatOfJob>(std::move(sender));
  run.jobs.back().heat = std::make_shared<const HeatOfJob>(std::move(receiver));
  return run;
}

}  // namespace shmif::test
