#include "perf/why/why_result.hpp"

#include <algorithm>

namespace shmif::perf {
namespace {

MachineSummary machine_of(const WhySeries& series, double seconds) {
  MachineSummary sum;
  const auto add = [](std::optional<double>& to, std::optional<std::uint32_t> us) {
    if (us) to = to.value_or(0) + *us * kMicro;
  };
  for (const MachineStep& step : series.machine) {
    for (const CpuStep& cpu : step.cpus) {
      sum.steal += cpu.steal_us * kMicro;
      sum.softirq += cpu.softirq_us * kMicro;
      sum.queue_drops += cpu.drops;
      sum.squeezes += cpu.squeezes;
    }
    add(sum.cpu_pressure, step.cpu_us);
    add(sum.memory_pressure, step.memory_us);
    add(sum.io_pressure, step.io_us);
  }
  if (seconds <= 0) return {};
  for (double* each : {&sum.steal, &sum.softirq}) *each /= seconds;
  for (auto* each : {&sum.cpu_pressure, &sum.memory_pressure, &sum.io_pressure}) {
    if (*each) *each = std::min(1.0, **each / seconds);
  }
  return sum;
}

BusSummary bus_of(const WhySeries& series, const BusSeries& bus) {
  BusSummary sum;
  sum.bus = bus.bus;
  for (const std::uint32_t each : bus.takeovers) sum.takeovers += each;
  for (const PortSeries& port : series.ports) {
    if (port.bus != bus.bus) continue;
    for (const PortStep& step : port.steps) {
      sum.lock_sleeps += step.lock_sleeps;
      sum.pauses += step.pauses;
      sum.stalls += step.stalls;
      sum.overruns += step.overruns;
      sum.paused_s += static_cast<double>(step.paused_us) * kMicro;
    }
  }
  return sum;
}

}  // namespace

WhyResult why_result(const WhySampler& sampler, std::span<const JobTraffic> traffic) {
  const WhySeries& series = sampler.series();
  WhyResult result;
  result.looks = series.ends_s.size();
  if (!series.ends_s.empty()) result.seconds = series.ends_s.back() - series.begin_s;
  if (result.seconds > 0) result.own_share = sampler.own_seconds() / result.seconds;
  result.causes = find_causes(series, traffic);
  result.tasks = summaries_of(series);
  result.machine = machine_of(series, result.seconds);
  for (const BusSeries& bus : series.buses) result.buses.push_back(bus_of(series, bus));
  result.missing = series.missing;
  return result;
}

}  // namespace shmif::perf
