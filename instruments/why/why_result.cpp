#include "instruments/why/why_result.hpp"

#include <algorithm>
#include <utility>

namespace shmif::perf {
namespace {

/// Sums the known values, and the time for which they are known.
struct Known {
  double seconds = 0, sum = 0;
  void add(double length, std::optional<double> value) {
    if (!value) return;
    seconds += length;
    sum += *value;
  }
  std::optional<double> share() const {
    return seconds > 0 ? std::optional(sum / seconds) : std::nullopt;
  }
  std::optional<std::uint64_t> count() const {
    return seconds > 0 ? std::optional(static_cast<std::uint64_t>(sum)) : std::nullopt;
  }
};

MachineSummary machine_of(const WhySeries& series) {
  Known steal, softirq, drops, squeezes, cpu_us, memory_us, io_us;
  for (std::size_t i = 0; i < std::min(series.machine.size(), series.ends_s.size()); ++i) {
    const MachineStep& step = series.machine[i];
    const double length = series.seconds_of(i);
    double steal_us = 0, softirq_us = 0, dropped = 0, squeezed = 0;
    for (const CpuStep& cpu : step.cpus) {
      steal_us += cpu.steal_us;
      softirq_us += cpu.softirq_us;
      dropped += cpu.drops;
      squeezed += cpu.squeezes;
    }
    if (step.stolen_known) {
      steal.add(length, steal_us * kMicro);
      softirq.add(length, softirq_us * kMicro);
    }
    if (step.queues_known) {
      drops.add(length, dropped);
      squeezes.add(length, squeezed);
    }
    for (auto [sum, us] : {std::pair(&cpu_us, step.cpu_us), std::pair(&memory_us, step.memory_us),
                           std::pair(&io_us, step.io_us)}) {
      if (us) sum->add(length, *us * kMicro);
    }
  }
  MachineSummary sum{.steal = steal.share(),
                     .softirq = softirq.share(),
                     .queue_drops = drops.count(),
                     .squeezes = squeezes.count(),
                     .cpu_pressure = cpu_us.share(),
                     .memory_pressure = memory_us.share(),
                     .io_pressure = io_us.share()};
  for (auto* each : {&sum.cpu_pressure, &sum.memory_pressure, &sum.io_pressure}) {
    if (*each) *each = std::min(1.0, **each);
  }
  return sum;
}

BusSummary bus_of(const WhySeries& series, const BusSeries& bus) {
  BusSummary sum;
  sum.bus = bus.bus;
  sum.trouble = bus.trouble;
  const std::size_t known = bus.first + bus.takeovers.size();
  sum.known_until_s = known < series.ends_s.size() ? series.begin_of(known)
                      : series.ends_s.empty()      ? series.begin_s
                                                   : series.ends_s.back();
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
  result.machine = machine_of(series);
  for (const BusSeries& bus : series.buses) result.buses.push_back(bus_of(series, bus));
  result.missing = series.missing;
  result.tasks_missed = series.tasks_missed;
  return result;
}

}  // namespace shmif::perf
