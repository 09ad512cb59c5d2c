#include "perf/result/machine.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <utility>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace shmif::perf {
namespace {

/// The content of a file; empty if it cannot be read.
std::string content_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string_view trimmed(std::string_view text) noexcept {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

/// Calls `visit` with each line of `text`, without its end.
template <class Visit>
void for_each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    visit(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

/// The value of the first "name   :" in /proc/cpuinfo or /proc/meminfo; empty if there is none.
std::string_view field(std::string_view text, std::string_view name) {
  std::string_view found;
  for_each_line(text, [&](std::string_view line) {
    const std::size_t colon = line.find(':');
    if (!found.empty() || colon == std::string_view::npos) return;
    if (trimmed(line.substr(0, colon)) == name) found = trimmed(line.substr(colon + 1));
  });
  return found;
}

template <class T>
std::optional<T> number_at_front_of(std::string_view text) noexcept {
  T value{};
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{}) return std::nullopt;
  return value;
}

std::string model_of(std::string_view cpuinfo) {
  if (const auto name = field(cpuinfo, "model name"); !name.empty()) return std::string(name);
  // ARM shows no model name, but the implementer and the part.
  const auto implementer = field(cpuinfo, "CPU implementer");
  const auto part = field(cpuinfo, "CPU part");
  if (implementer.empty() || part.empty()) return {};
  return "implementer " + std::string(implementer) + ", part " + std::string(part);
}

/// The current frequency of the first CPU, as an example: it may change at any time.
std::optional<double> frequency_of(const std::string& root, std::string_view cpuinfo) {
  const std::string khz =
      content_of(root + "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq");
  if (const auto value = number_at_front_of<double>(khz); value && *value > 0) return *value / 1000;
  if (const auto value = number_at_front_of<double>(field(cpuinfo, "cpu MHz"));
      value && *value > 0) {
    return value;
  }
  return std::nullopt;
}

/// The hypervisor's name; empty if there is none, or if it gives no name.
std::string hypervisor_by_cpuid() {
#if defined(__x86_64__)
  constexpr unsigned kHypervisorLeaf = 0x40000000;
  std::array<unsigned, 4> r{};
  __cpuid(kHypervisorLeaf, r[0], r[1], r[2], r[3]);
  std::array<char, 13> name{};
  std::memcpy(name.data(), &r[1], 12);
  constexpr std::array<std::pair<std::string_view, const char*>, 6> kKnown{
      {{"KVMKVMKVM", "KVM"},
       {"VMwareVMware", "VMware"},
       {"Microsoft Hv", "Hyper-V"},
       {"XenVMMXenVMM", "Xen"},
       {"TCGTCGTCGTCG", "QEMU"},
       {"bhyve bhyve ", "bhyve"}}};
  for (const auto& [vendor, known] : kKnown) {
    if (std::string_view(name.data()) == vendor) return known;
  }
#endif
  return {};
}

std::string virtualization_of(const std::string& root, std::string_view cpuinfo) {
  std::string type(trimmed(content_of(root + "/sys/hypervisor/type")));
  if (!type.empty()) return type;
  const std::string flags = ' ' + std::string(field(cpuinfo, "flags")) + ' ';
  if (flags.find(" hypervisor ") != std::string::npos) {
    const std::string name = root.empty() ? hypervisor_by_cpuid() : std::string();
    return name.empty() ? "a hypervisor" : name;
  }
  // If the CPU does not tell, the board's vendor may.
  std::string vendor(trimmed(content_of(root + "/sys/class/dmi/id/sys_vendor")));
  for (const char* known : {"QEMU", "VMware", "Xen", "Amazon EC2", "Google"}) {
    if (vendor.starts_with(known)) return vendor;
  }
  return {};
}

int count_cpus(std::string_view cpuinfo) {
  int count = 0;
  for_each_line(cpuinfo,
                [&](std::string_view line) { count += line.starts_with("processor") ? 1 : 0; });
  return count;
}

}  // namespace

MachineResult describe_machine(const std::string& root) {
  MachineResult machine;
  utsname names{};
  if (uname(&names) == 0) {
    machine.hostname = names.nodename;
    machine.kernel = std::string(names.sysname) + ' ' + names.release + ' ' + names.machine;
  }
  const std::string cpuinfo = content_of(root + "/proc/cpuinfo");
  machine.cpu_model = model_of(cpuinfo);
  machine.frequency_mhz = frequency_of(root, cpuinfo);
  machine.virtualization = virtualization_of(root, cpuinfo);
  machine.clock_source = trimmed(
      content_of(root + "/sys/devices/system/clocksource/clocksource0/current_clocksource"));
  const long online = root.empty() ? sysconf(_SC_NPROCESSORS_ONLN) : 0;
  machine.cpus = online > 0 ? static_cast<int>(online) : count_cpus(cpuinfo);
  const std::string meminfo = content_of(root + "/proc/meminfo");
  machine.memory_bytes =
      number_at_front_of<std::uint64_t>(field(meminfo, "MemTotal")).value_or(0) * 1024;
  return machine;
}

std::vector<CpuTicks> parse_cpu_ticks(std::string_view text) {
  std::vector<CpuTicks> found;
  for_each_line(text, [&](std::string_view line) {
    if (!line.starts_with("cpu")) return;
    line.remove_prefix(3);
    const auto cpu = number_at_front_of<int>(line);
    if (!cpu || *cpu < 0) return;  // the line with the sum of all
    line.remove_prefix(std::min(line.find(' '), line.size()));
    // user, nice, system, idle, iowait, irq, softirq, steal; old kernels have fewer.
    std::array<std::uint64_t, 8> ticks{};
    std::size_t count = 0;
    for (; count < ticks.size(); ++count) {
      line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
      const auto value = number_at_front_of<std::uint64_t>(line);
      if (!value) break;
      ticks[count] = *value;
      line.remove_prefix(std::min(line.find(' '), line.size()));
    }
    if (count < 4) return;
    found.push_back({.cpu = *cpu,
                     .user = ticks[0] + ticks[1],
                     .system = ticks[2],
                     .idle = ticks[3] + ticks[4],
                     .steal = ticks[7],
                     .irq = ticks[5] + ticks[6]});
  });
  return found;
}

std::vector<CpuShare> shares_between(const std::vector<CpuTicks>& begin,
                                     const std::vector<CpuTicks>& end) {
  std::vector<CpuShare> shares;
  for (const CpuTicks& now : end) {
    const auto then = std::ranges::find(begin, now.cpu, &CpuTicks::cpu);
    if (then == begin.end()) continue;
    const auto passed = [](std::uint64_t from, std::uint64_t to) {
      return to > from ? static_cast<double>(to - from) : 0;
    };
    CpuShare share{.cpu = now.cpu,
                   .user = passed(then->user, now.user),
                   .system = passed(then->system, now.system),
                   .idle = passed(then->idle, now.idle),
                   .steal = passed(then->steal, now.steal),
                   .irq = passed(then->irq, now.irq)};
    const double sum = share.user + share.system + share.idle + share.steal + share.irq;
    if (sum == 0) continue;
    for (double* part : {&share.user, &share.system, &share.idle, &share.steal, &share.irq}) {
      *part /= sum;
    }
    shares.push_back(share);
  }
  return shares;
}

CpuWindow::CpuWindow(std::string path)
    : path_(std::move(path)), begin_(parse_cpu_ticks(content_of(path_))) {}

std::vector<CpuShare> CpuWindow::shares() const {
  return shares_between(begin_, parse_cpu_ticks(content_of(path_)));
}

namespace {

CpuResult read_usage(Usage::Of of) noexcept {
  rusage usage{};
  if (getrusage(static_cast<int>(of), &usage) != 0) return {};
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  const auto count = [](long value) { return static_cast<std::uint64_t>(value); };
  return {.user_seconds = seconds(usage.ru_utime),
          .system_seconds = seconds(usage.ru_stime),
          .voluntary_switches = count(usage.ru_nvcsw),
          .involuntary_switches = count(usage.ru_nivcsw),
          .minor_faults = count(usage.ru_minflt),
          .major_faults = count(usage.ru_majflt)};
}

/// Scales both times so that their sum is `exact`; empty: no change.
void make_exact(CpuResult& used, std::optional<double> exact) noexcept {
  if (!exact) return;
  const double sum = used.user_seconds + used.system_seconds;
  if (sum > 0) {
    used.user_seconds *= *exact / sum;
    used.system_seconds *= *exact / sum;
  } else {
    used.user_seconds = *exact;
  }
}

}  // namespace

std::optional<double> Usage::clock_of(Of of) noexcept {
  if (of == Of::children) return std::nullopt;
  timespec time{};
  const clockid_t clock = of == Of::thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_PROCESS_CPUTIME_ID;
  if (::clock_gettime(clock, &time) != 0) return std::nullopt;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

Usage::Usage(Of of) noexcept : of_(of), begin_clock_(clock_of(of)), begin_(read_usage(of)) {}

CpuResult Usage::so_far() const noexcept {
  const std::optional<double> clock = clock_of(of_);
  CpuResult now = read_usage(of_);
  // The kernel divides one exact time into these two by an estimate, which it corrects later.
  now.user_seconds = std::max(0.0, now.user_seconds - begin_.user_seconds);
  now.system_seconds = std::max(0.0, now.system_seconds - begin_.system_seconds);
  if (clock && begin_clock_) make_exact(now, *clock - *begin_clock_);
  now.voluntary_switches -= begin_.voluntary_switches;
  now.involuntary_switches -= begin_.involuntary_switches;
  now.minor_faults -= begin_.minor_faults;
  now.major_faults -= begin_.major_faults;
  return now;
}

CpuTime cpu_time_of(Usage::Of of) noexcept {
  rusage used{};
  if (::getrusage(static_cast<int>(of), &used) != 0) return {};
  const auto ns = [](const timeval& time) {
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U +
           static_cast<std::uint64_t>(time.tv_usec) * 1000U;
  };
  return {ns(used.ru_utime), ns(used.ru_stime)};
}

}  // namespace shmif::perf
