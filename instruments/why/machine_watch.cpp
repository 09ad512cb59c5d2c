#include "instruments/why/machine_watch.hpp"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "instruments/why/difference.hpp"

namespace shmif::perf {
namespace {

constexpr std::uint64_t kMicrosecondsPerSecond = 1'000'000;

}  // namespace

MachineWatch::MachineWatch(const KernelFiles& files, MachineSources sources)
    : stat_(files.path("/proc/stat")),
      softnet_(files.path("/proc/net/softnet_stat")),
      memory_{RepeatedFile(files.path("/proc/pressure/memory"))},
      cpu_{RepeatedFile(files.path("/proc/pressure/cpu"))},
      io_{RepeatedFile(files.path("/proc/pressure/io"))},
      tick_us_(kMicrosecondsPerSecond / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK))),
      sources_(sources) {}

CpuStep& MachineWatch::step_of(MachineStep& step, unsigned cpu) {
  for (CpuStep& each : step.cpus) {
    if (each.cpu == cpu) return each;
  }
  return step.cpus.emplace_back(CpuStep{.cpu = static_cast<std::uint16_t>(cpu)});
}

MachineWatch::Cpu& MachineWatch::cpu_of(unsigned number) {
  if (number >= cpus_.size()) cpus_.resize(number + 1);
  return cpus_[number];
}

void MachineWatch::add_ticks(MachineStep& step, WhySeries& series) {
  const auto text = stat_.read(buffer_);
  const auto all = text ? read_cpu_ticks(*text) : std::vector<StolenTicks>();
  if (all.empty()) series.miss("/proc/stat", stat_.why());
  step.stolen_known = std::exchange(had_ticks_, !all.empty()) && had_ticks_;
  for (const StolenTicks& ticks : all) {
    if (ticks.cpu >= UINT16_MAX) continue;
    Cpu& before = cpu_of(ticks.cpu);
    const bool known = std::exchange(before.ticks_look, looks_) + 1 == looks_ && looks_ > 1;
    const std::uint32_t steal = difference(ticks.steal * tick_us_, before.steal);
    const std::uint32_t softirq = difference(ticks.softirq * tick_us_, before.softirq);
    if (!known || (steal == 0 && softirq == 0)) continue;
    CpuStep& cpu = step_of(step, ticks.cpu);
    cpu.steal_us = steal;
    cpu.softirq_us = softirq;
  }
}

void MachineWatch::add_softnet(MachineStep& step, WhySeries& series) {
  const auto text = softnet_.read(buffer_);
  const auto all = text ? read_softnet(*text) : std::vector<SoftnetCounts>();
  if (all.empty()) series.miss("/proc/net/softnet_stat", softnet_.why());
  step.queues_known = std::exchange(had_softnet_, !all.empty()) && had_softnet_;
  for (const SoftnetCounts& counts : all) {
    if (counts.cpu >= UINT16_MAX) continue;
    Cpu& before = cpu_of(counts.cpu);
    const bool known = std::exchange(before.softnet_look, looks_) + 1 == looks_ && looks_ > 1;
    const std::uint32_t packets =
        difference32(static_cast<std::uint32_t>(counts.packets), before.packets);
    const std::uint32_t drops =
        difference32(static_cast<std::uint32_t>(counts.drops), before.drops);
    const std::uint32_t squeezes =
        difference32(static_cast<std::uint32_t>(counts.squeezes), before.squeezes);
    if (!known || (packets == 0 && drops == 0 && squeezes == 0)) continue;
    CpuStep& cpu = step_of(step, counts.cpu);
    cpu.packets = packets;
    cpu.drops = drops;
    cpu.squeezes = squeezes;
  }
}

std::optional<std::uint32_t> MachineWatch::pressure(Pressure& of, const char* source,
                                                    WhySeries& series) {
  const auto text = of.file.read(buffer_);
  const auto now = text ? read_pressure(*text) : std::nullopt;
  if (!now) series.miss(source, of.file.why());
  auto before = std::exchange(of.total, now);
  if (!now || !before) return std::nullopt;
  return difference(*now, *before);
}

void MachineWatch::sample(WhySeries& series) {
  ++looks_;
  const bool all = sources_ == MachineSources::all;
  MachineStep step;
  step.queues_known = false;
  add_ticks(step, series);
  if (all || std::ranges::any_of(series.jobs, &WatchedJob::uses_network)) {
    add_softnet(step, series);
  }
  step.memory_us = pressure(memory_, "/proc/pressure/memory", series);
  if (all) {
    step.cpu_us = pressure(cpu_, "/proc/pressure/cpu", series);
    step.io_us = pressure(io_, "/proc/pressure/io", series);
  }
  if (looks_ > 1) series.machine.push_back(std::move(step));
}

}  // namespace shmif::perf
