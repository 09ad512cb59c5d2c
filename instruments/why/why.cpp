#include "instruments/why/why.hpp"

#include <time.h>
#include <algorithm>
#include <cerrno>
#include <sstream>

#include "base/quantity.hpp"
#include "instruments/watch/process.hpp"
#include "instruments/why/kernel_text.hpp"
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

namespace {

Capability supported(std::string name, std::string reason = {}) {
  return {std::move(name), Support::supported, std::move(reason), {}};
}

/// The capability for a file that could not be read. `lack`: why a kernel does not have the file.
Capability unreadable(std::string name, const Error& error, const std::string& lack,
                      std::string enable_with) {
  if (is_refusal(error.code.value())) {
    return {std::move(name), Support::not_permitted, error.message,
            "run it as the user of the watched program, or as root"};
  }
  return {std::move(name), Support::not_supported, error.message + ": " + lack,
          std::move(enable_with)};
}

Capability other_form(std::string name, const KernelFiles& files, const char* file) {
  return {std::move(name),
          Support::not_supported,
          files.path(file) + " is empty or has another form than the kernel gives it",
          {}};
}

Capability whole(const KernelFiles& files) {
  constexpr const char* kName = "why";
  const auto text = files.read("/proc/self/stat");
  if (!text) return unreadable(kName, text.error(), "/proc is not mounted", "mount /proc");
  if (read_task_stat(*text)) return supported(kName);
  return {kName,
          Support::not_supported,
          files.path("/proc/self/stat") + " is not as proc_pid_stat(5) describes it",
          {}};
}

Capability schedstat(const KernelFiles& files) {
  constexpr const char* kName = "why.schedstat";
  const auto text = files.read("/proc/self/schedstat");
  if (!text) {
    return unreadable(kName, text.error(),
                      "the kernel was built without CONFIG_SCHED_INFO, so it does not tell how "
                      "long threads wait for a CPU",
                      "a kernel with CONFIG_TASK_DELAY_ACCT or CONFIG_SCHEDSTATS");
  }
  if (!read_schedstat(*text)) return other_form(kName, files, "/proc/self/schedstat");
  // Kernels before 5.13 have the file even if they do not count; it then has only zeros.
  if (text->starts_with("0 0 0")) {
    return {kName, Support::not_supported,
            files.path("/proc/self/schedstat") + " has only zeros: the kernel does not count",
            "delayacct on the kernel's command line"};
  }
  return supported(kName);
}

Capability migrations(const KernelFiles& files) {
  constexpr const char* kName = "why.migrations";
  const auto text = files.read("/proc/self/sched");
  if (text && read_sched(*text).migrations) return supported(kName);
  // A thread's `stat` tells on which CPU it ran last.
  const auto stat = files.read("/proc/self/stat");
  if (!stat) return unreadable(kName, stat.error(), "/proc is not mounted", "mount /proc");
  if (!read_task_stat(*stat)) return other_form(kName, files, "/proc/self/stat");
  const std::string why = text ? files.path("/proc/self/sched") + " has no nr_migrations"
                               : std::string(text.error().message);
  return supported(kName, why + ": only the changes of CPU between two samples are counted");
}

Capability psi(const KernelFiles& files) {
  constexpr const char* kName = "why.psi";
  const auto text = files.read("/proc/pressure/memory");
  if (text && read_pressure(*text)) return supported(kName);
  constexpr const char* kEnable = "psi=1 on the kernel's command line";
  if (text) {
    return {kName, Support::not_supported,
            files.path("/proc/pressure/memory") + " has no figure \"total\"", kEnable};
  }
  return unreadable(kName, text.error(),
                    "the kernel was built without CONFIG_PSI, or started without psi=1", kEnable);
}

/// Whether a line of /proc/mounts mounts this controller of version 1, or a tree of version 2,
/// which may have the controller.
bool mounts(const std::string& line, const std::string& controller) {
  std::istringstream words(line);
  std::string device, where, type, options;
  words >> device >> where >> type >> options;
  if (type == "cgroup2") return true;
  return type == "cgroup" &&
         (',' + options + ',').find(',' + controller + ',') != std::string::npos;
}

Capability cgroup(const KernelFiles& files) {
  constexpr const char* kName = "why.cgroup";
  const auto groups = files.read("/proc/self/cgroup");
  if (!groups) {
    return unreadable(kName, groups.error(), "the kernel was built without CONFIG_CGROUPS", {});
  }
  // "0::/rig", or "4:cpu,cpuacct:/rig"
  const std::size_t colon = groups->find(':');
  if (colon == std::string::npos || groups->find(":/", colon + 1) == std::string::npos) {
    return other_form(kName, files, "/proc/self/cgroup");
  }
  const auto table = files.read("/proc/mounts");
  if (!table) return unreadable(kName, table.error(), "/proc is not mounted", "mount /proc");
  const auto has = [&](const std::string& controller) {
    std::istringstream lines(*table);
    for (std::string line; std::getline(lines, line);) {
      if (mounts(line, controller)) return true;
    }
    return false;
  };
  const bool cpu = has("cpu");
  const bool memory = has("memory");
  if (!cpu && !memory) {
    return {kName, Support::not_supported,
            files.path("/proc/mounts") + " mounts neither the controller cpu nor memory",
            "mount -t cgroup2 none /sys/fs/cgroup"};
  }
  if (!cpu) return supported(kName, "quotas are not seen: the controller cpu is not mounted");
  if (!memory) return supported(kName, "memory limits are not seen: the controller is not mounted");
  return supported(kName);
}

/// The sum of `steal` of all CPUs since boot; empty if the file has no such field.
std::optional<std::uint64_t> steal_ticks(const std::string& text) {
  std::istringstream words(text);
  std::string word;
  constexpr int kStealWord = 8;  // "cpu", then user, nice, system, idle, iowait, irq, softirq
  for (int i = 0; i <= kStealWord; ++i) words >> word;
  if (!words || !text.starts_with("cpu ")) return std::nullopt;
  return base::read_digits(word);
}

Capability steal(const KernelFiles& files) {
  constexpr const char* kName = "why.steal";
  const auto text = files.read("/proc/stat");
  if (!text) return unreadable(kName, text.error(), "/proc is not mounted", "mount /proc");
  const auto ticks = steal_ticks(*text);
  if (!ticks) {
    return {
        kName, Support::not_supported, files.path("/proc/stat") + " has no figure of steal", {}};
  }
  const auto cpus = files.read("/proc/cpuinfo");
  if (*ticks == 0 && cpus && cpus->find(" hypervisor") != std::string::npos) {
    return supported(kName, "no steal was counted since boot: this hypervisor may hide it");
  }
  return supported(kName);
}

Capability softnet(const KernelFiles& files) {
  constexpr const char* kName = "why.softnet";
  const auto text = files.read("/proc/net/softnet_stat");
  if (!text) return unreadable(kName, text.error(), "the kernel was built without CONFIG_NET", {});
  constexpr int kHex = 16;
  const std::size_t end = std::min(text->find_first_of(" \n"), text->size());
  if (base::read_digits(text->substr(0, end), kHex)) return supported(kName);
  return other_form(kName, files, "/proc/net/softnet_stat");
}

}  // namespace

std::vector<Capability> why_capabilities(const KernelFiles& files) {
  return {whole(files),  schedstat(files), migrations(files), psi(files),
          cgroup(files), steal(files),     softnet(files)};
}

}  // namespace shmif::perf
