#include "instruments/why/sampler.hpp"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <sstream>
#include <string>
#include <utility>

#include "base/quantity.hpp"
#include "instruments/watch/process.hpp"
#include "instruments/why/kernel_text.hpp"

namespace shmif::perf {
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
