#include "perf/why/port_watch.hpp"

#include <unistd.h>

#include <algorithm>

namespace shmif::perf {
namespace {

PortStep step_of(const PortInfo& now, PortCounters& before, std::uint64_t& stalls) {
  constexpr std::uint64_t kNsPerUs = 1000;
  PortStep step;
  step.lock_sleeps = difference(now.lock_sleeps, before.lock_sleeps);
  step.pauses = difference(now.pauses, before.pauses);
  step.stalls = difference(now.stalls, stalls);
  step.overruns = difference(now.overruns, before.overruns);
  step.paused_us = difference(now.paused_ns / kNsPerUs, before.paused_ns);
  step.lost_frames = difference(now.lost_frames, before.lost_frames);
  const std::uint32_t received = difference(now.rx_frames, before.rx_frames);
  step.frames = std::uint64_t{received} + difference(now.tx_frames, before.tx_frames);
  return step;
}

}  // namespace

Result<PortWatch> PortWatch::open(const std::string& path) {
  auto bus = Bus::open(path);
  if (!bus) return std::move(bus).error();
  return PortWatch(path, *std::move(bus));
}

namespace {

/// Jobs that are threads of this process have ports of this process, with their names.
std::optional<std::size_t> thread_job_of(const WhySeries& series, const PortInfo& port) {
  if (port.pid != ::getpid()) return std::nullopt;
  const auto at = std::ranges::find(series.jobs, port.name, &WatchedJob::name);
  if (at == series.jobs.end()) return std::nullopt;
  return static_cast<std::size_t>(at - series.jobs.begin());
}

}  // namespace

void PortWatch::sample(WhySeries& series, const TaskWatch& tasks) {
  const BusInfo info = bus_.info();
  const bool first = !number_;
  if (first) {
    number_ = series.buses.size();
    series.buses.push_back({.bus = path_, .first = series.ends_s.size()});
  }
  const std::uint32_t dead = difference(info.takeovers_dead, takeovers_dead_);
  const std::uint32_t living = difference(info.takeovers_living, takeovers_living_);
  if (!first) {
    series.buses[*number_].takeovers.push_back(dead + living);
    series.buses[*number_].takeovers_living.push_back(living);
  }
  for (const PortInfo& port : info.ports) {
    if (port.incarnation == 0) continue;  // it changed its owner while it was read
    const auto [at, is_new] = ports_.try_emplace({port.slot, port.incarnation});
    Port& known = at->second;
    if (is_new) {
      known.number = series.ports.size();
      const std::size_t begin = series.ends_s.size() - (first ? 0 : 1);
      series.ports.push_back(
          {.bus = path_, .name = port.name, .job = tasks.job_of(port.pid), .first = begin});
    }
    PortSeries& its = series.ports[known.number];
    if (!its.job) its.job = tasks.job_of(port.pid);
    if (!its.job) its.job = thread_job_of(series, port);
    const PortStep step = step_of(port, known.counts, known.stalls);
    if (first) continue;
    // A look that failed leaves an interval of which nothing is known.
    while (its.first + its.steps.size() + 1 < series.ends_s.size()) its.steps.emplace_back();
    its.steps.push_back(step);
  }
}

}  // namespace shmif::perf
