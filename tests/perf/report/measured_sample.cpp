#include "tests/perf/report/measured_sample.hpp"

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
  return run;
}

RunResult measured_sample() {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  RunResult run = quiet_sample();
  for (JobResult& job : run.jobs) job.rx.frames = 0;
  run.jobs.back().rx.frames = 2000;
  run.jobs.back().rx.seconds = 2;
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
    memory->measured.samples.push_back({number, {of_bus, of_pmu}});
  }
  run.membw = memory;
  return run;
}

}  // namespace shmif::test
