#include "instruments/why/sampler.hpp"

#include <time.h>

#include <algorithm>
#include <utility>

#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

/// Twenty minutes of looks at 10 Hz. After that, the time between two looks grows with the length
/// of the watch, so that a day has only five times as many looks.
constexpr std::uint64_t kEvenLooks = 12000;

double own_cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double seconds_between(std::uint64_t from_ns, std::uint64_t to_ns) {
  return to_ns >= from_ns ? static_cast<double>(to_ns - from_ns) * 1e-9
                          : -static_cast<double>(from_ns - to_ns) * 1e-9;
}

}  // namespace

WhySampler::WhySampler(const KernelFiles& files, std::uint64_t origin_ns, MachineSources sources)
    : origin_ns_(origin_ns),
      machine_(files, sources),
      groups_(files),
      nets_(files),
      tasks_(files, series_, seconds_between(0, origin_ns)) {}

std::size_t WhySampler::add_job(WatchedJob job) {
  debug(Debug::why, [&] {
    return "job " + std::to_string(series_.jobs.size()) + " of the diagnosis is " + job.name;
  });
  series_.jobs.push_back(std::move(job));
  return series_.jobs.size() - 1;
}

Result<void> WhySampler::add_bus(const std::string& path) {
  auto bus = PortWatch::open(path);
  if (!bus) return std::move(bus).error();
  debug(Debug::why, [&] { return "looks at the ports of " + path; });
  buses_.push_back(*std::move(bus));
  return {};
}

void WhySampler::sample(std::uint64_t now_ns) {
  const double began = own_cpu_seconds();
  const double at = seconds_between(origin_ns_, now_ns);
  if (looks_++ > 0) {
    series_.ends_s.push_back(at);
  } else {
    series_.begin_s = at;
  }
  // Sample the tasks last. Their look may add groups and namespaces by find(), and the first
  // interval of these is the next one.
  machine_.sample(series_);
  groups_.sample(series_);
  nets_.sample(series_);
  tasks_.sample(series_, groups_, nets_);
  for (PortWatch& bus : buses_) bus.sample(series_, tasks_);
  last_ns_ = now_ns;
  const double took = own_cpu_seconds() - began;
  own_seconds_ += took;
  last_seconds_.at(looks_ % last_seconds_.size()) = looks_ > 1 ? took : 0;
}

double WhySampler::usual_look_seconds() const noexcept {
  return *std::ranges::min_element(last_seconds_);
}

std::uint64_t WhySampler::next_ns(std::uint64_t interval_ns) const noexcept {
  const std::uint64_t lasted = last_ns_ - std::min(last_ns_, origin_ns_);
  return last_ns_ + std::max(interval_ns, lasted / kEvenLooks);
}

std::vector<JobTraffic> traffic_of_ports(const WhySeries& series) {
  std::vector<JobTraffic> all;
  for (std::size_t job = 0; job < series.jobs.size(); ++job) {
    JobTraffic traffic{.job = series.jobs[job].name, .of_port = true};
    for (std::size_t i = 0; i < series.ends_s.size(); ++i) {
      traffic.steps.push_back({.begin_s = series.begin_of(i), .end_s = series.ends_s[i]});
    }
    bool has_port = false;
    for (const PortSeries& port : series.ports) {
      if (port.job != job) continue;
      has_port = true;
      for (std::size_t i = 0; i < port.steps.size(); ++i) {
        traffic.steps[port.first + i].lost += port.steps[i].lost_frames;
        traffic.steps[port.first + i].overruns += port.steps[i].overruns;
      }
    }
    if (has_port) all.push_back(std::move(traffic));
  }
  return all;
}

}  // namespace shmif::perf
