#include "perf/why/machine_watch.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "perf/why/difference.hpp"

namespace shmif::perf {
namespace {

constexpr std::uint64_t kMicrosecondsPerSecond = 1'000'000;

}  // namespace

MachineWatch::MachineWatch(const KernelFiles& files, WhySeries& series)
    : stat_(files.path("/proc/stat")),
      softnet_(files.path("/proc/net/softnet_stat")),
      memory_{RepeatedFile(files.path("/proc/pressure/memory"))},
      cpu_{RepeatedFile(files.path("/proc/pressure/cpu"))},
      io_{RepeatedFile(files.path("/proc/pressure/io"))},
      tick_us_(kMicrosecondsPerSecond / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK))) {
  for (const char* name : {"/proc/stat", "/proc/net/softnet_stat", "/proc/pressure/memory"}) {
    const auto text = files.read(name);
    if (!text) series.missing.push_back({name, text.error().message});
  }
}

CpuStep& MachineWatch::step_of(MachineStep& step, unsigned cpu) {
  for (CpuStep& each : step.cpus) {
    if (each.cpu == cpu) return each;
  }
  return step.cpus.emplace_back(CpuStep{.cpu = static_cast<std::uint16_t>(cpu)});
}

void MachineWatch::add_ticks(MachineStep& step) {
  const auto text = stat_.read(buffer_);
  if (!text) return;
  for (const StolenTicks& ticks : read_cpu_ticks(*text)) {
    if (ticks.cpu >= UINT16_MAX) continue;
    if (ticks.cpu >= cpus_.size()) cpus_.resize(ticks.cpu + 1);
    Cpu& before = cpus_[ticks.cpu];
    const std::uint32_t steal = difference(ticks.steal * tick_us_, before.steal);
    const std::uint32_t softirq = difference(ticks.softirq * tick_us_, before.softirq);
    if (steal == 0 && softirq == 0) continue;
    CpuStep& cpu = step_of(step, ticks.cpu);
    cpu.steal_us = steal;
    cpu.softirq_us = softirq;
  }
}

void MachineWatch::add_softnet(MachineStep& step) {
  const auto text = softnet_.read(buffer_);
  if (!text) return;
  for (const SoftnetCounts& counts : read_softnet(*text)) {
    if (counts.cpu >= UINT16_MAX) continue;
    if (counts.cpu >= cpus_.size()) cpus_.resize(counts.cpu + 1);
    Cpu& before = cpus_[counts.cpu];
    const std::uint32_t packets = difference(counts.packets, before.packets);
    const std::uint32_t drops = difference(counts.drops, before.drops);
    const std::uint32_t squeezes = difference(counts.squeezes, before.squeezes);
    if (packets == 0 && drops == 0 && squeezes == 0) continue;
    CpuStep& cpu = step_of(step, counts.cpu);
    cpu.packets = packets;
    cpu.drops = drops;
    cpu.squeezes = squeezes;
  }
}

std::optional<std::uint32_t> MachineWatch::pressure(Pressure& of) {
  const auto text = of.file.read(buffer_);
  const auto total = text ? read_pressure(*text) : std::nullopt;
  if (!total) return std::nullopt;
  return difference(*total, of.total);
}

void MachineWatch::sample(WhySeries& series) {
  MachineStep step;
  add_ticks(step);
  add_softnet(step);
  step.memory_us = pressure(memory_);
  step.cpu_us = pressure(cpu_);
  step.io_us = pressure(io_);
  if (std::exchange(begun_, true)) series.machine.push_back(std::move(step));
}

std::uint64_t NetWatch::find(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  struct stat of{};
  if (::stat(files_.path(folder + "/ns/net").c_str(), &of) != 0) return 0;
  Net& net = nets_[of.st_ino];
  if (net.pid == 0) {
    net.pid = pid;
    net.file = RepeatedFile(files_.path(folder + "/net/dev"));
  }
  return of.st_ino;
}

void NetWatch::read(std::uint64_t id, Net& net, WhySeries& series) {
  const auto text = net.file.read(buffer_);
  if (!text) {
    net.begun = false;
    net.devices.clear();
    return;
  }
  const std::size_t interval = series.ends_s.size() - (net.begun ? 1 : 0);
  for (DeviceCounts& counts : read_devices(*text)) {
    const auto [at, is_new] = net.devices.try_emplace(counts.name);
    Device& device = at->second;
    if (is_new) {
      device.number = series.devices.size();
      series.devices.push_back({.name = counts.name, .net = id, .first = interval});
      // What an interface that is new in a known namespace has done, it did in this interval.
      if (!net.begun) device.counts = counts;
    }
    device.seen = true;
    if (!net.begun) continue;
    DeviceCounts& before = device.counts;
    series.devices[device.number].steps.push_back(
        {.rx_packets = difference(counts.rx_packets, before.rx_packets),
         .rx_drops = difference(counts.rx_drops, before.rx_drops),
         .tx_packets = difference(counts.tx_packets, before.tx_packets),
         .tx_drops = difference(counts.tx_drops, before.tx_drops)});
  }
  net.begun = true;
  // An interface that is gone may come back as another one of the same name.
  for (auto at = net.devices.begin(); at != net.devices.end();) {
    at = std::exchange(at->second.seen, false) ? std::next(at) : net.devices.erase(at);
  }
}

void NetWatch::sample(WhySeries& series) {
  for (auto at = nets_.begin(); at != nets_.end();) {
    struct stat of{};
    const std::string file = files_.path("/proc/" + std::to_string(at->second.pid) + "/ns/net");
    if (::stat(file.c_str(), &of) != 0 || of.st_ino != at->first) {
      at = nets_.erase(at);
      continue;
    }
    read(at->first, at->second, series);
    ++at;
  }
}

}  // namespace shmif::perf
