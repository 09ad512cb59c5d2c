#include "instruments/membw/measure.hpp"

#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>

#include "base/quantity.hpp"
#include "instruments/membw/pmu_source.hpp"
#include "instruments/membw/resctrl_files.hpp"
#include "instruments/membw/resctrl_source.hpp"
#include "instruments/membw/software_source.hpp"

namespace shmif::perf {
namespace {

constexpr unsigned kSysAdmin = 21;  // capabilities(7)
constexpr unsigned kPerfmon = 38;

/// Whether we may open counters of whole CPUs, whatever perf_event_paranoid is.
bool may_count_all(const KernelFiles& files) {
  const auto status = files.read("/proc/self/status");
  constexpr std::string_view kEffective = "CapEff:\t";
  for (const std::string_view line : lines_in(status ? std::string_view(*status) : "")) {
    if (!line.starts_with(kEffective)) continue;
    const auto mask = base::read_digits(line.substr(kEffective.size()), 16);
    return mask && ((*mask >> kSysAdmin | *mask >> kPerfmon) & 1U) != 0;
  }
  return ::geteuid() == 0;
}

Capability of_pmu(const KernelFiles& files) {
  Capability pmu{"membw.pmu", Support::supported, {}, {}};
  const auto counters = find_memory_counters(files);
  if (!counters) {
    pmu.state = Support::not_supported;
    pmu.reason = counters.error().message;
    return pmu;
  }
  const std::string file = "/proc/sys/kernel/perf_event_paranoid";
  const auto level = files.read_signed(file);
  if (!level) {
    pmu.state = Support::not_supported;
    pmu.reason = level.error().message + ": it does not tell what the kernel permits";
    return pmu;
  }
  if (*level <= 0 || may_count_all(files)) return pmu;
  pmu.state = Support::not_permitted;
  pmu.reason =
      files.path(file) + " is " + std::to_string(*level) + ", and this user has no CAP_PERFMON";
  pmu.enable_with = "sysctl kernel.perf_event_paranoid=0";
  return pmu;
}

Capability of_resctrl(const KernelFiles& files) {
  Capability resctrl{"membw.resctrl", Support::supported, {}, {}};
  const auto lacks = [&](const Error& error) {
    resctrl.state = Support::not_supported;
    resctrl.reason = error.message;
    return resctrl;
  };
  const auto place = ResctrlSource::find_mount(files);
  if (!place) {
    if (place.error().code != std::errc::no_such_device) return lacks(place.error());
    resctrl.enable_with = "mount -t resctrl resctrl /sys/fs/resctrl";
    return lacks(Error(place.error().code, "resctrl is not mounted"));
  }
  const auto events = ResctrlSource::find_events(files, *place);
  if (!events) return lacks(events.error());
  const std::string groups = files.path(*place + "/mon_groups");
  if (::access(groups.c_str(), W_OK) != 0) {
    resctrl.state = is_refusal(errno) ? Support::not_permitted : Support::not_supported;
    resctrl.reason = Error::from_errno(errno, "cannot make groups in " + groups).message;
    if (is_refusal(errno)) resctrl.enable_with = "run it as root";
  }
  return resctrl;
}

Capability of_software(const KernelFiles& files) {
  Capability software{"membw.software", Support::supported, {}, {}};
  const auto io = files.read("/proc/self/io");
  if (io && !read_process_io(*io)) {
    software.reason = "of buses and network devices only: " + files.path("/proc/self/io") +
                      " is not as proc_pid_io(5) describes it";
  } else if (!io) {
    software.reason = "of buses and network devices only: there is no " +
                      files.path("/proc/self/io") +
                      " (the kernel was built without CONFIG_TASK_IO_ACCOUNTING)";
  }
  return software;
}

/// Whether allocations of bandwidth and caches can be set.
Capability of_allocation(const KernelFiles& files, const Capability& resctrl) {
  Capability allocation{"membw.allocation", resctrl.state, resctrl.reason, resctrl.enable_with};
  const auto place = ResctrlSource::find_mount(files);
  if (!place || resctrl.state != Support::supported) return allocation;
  if (files.has(*place + "/schemata")) return allocation;
  allocation.state = Support::not_supported;
  allocation.reason = "there is no " + files.path(*place + "/schemata") +
                      ": this machine cannot limit caches or bandwidth";
  return allocation;
}

}  // namespace

std::vector<Capability> membw_capabilities(const KernelFiles& files) {
  std::vector<Capability> all{of_pmu(files), of_resctrl(files)};
  all.push_back(of_allocation(files, all.back()));
  all[0].tested = "with recorded trees and fake counters only, never on memory controllers";
  for (std::size_t at : {1U, 2U}) {
    all[at].tested = "with recorded trees and fakes only, never on a processor with resctrl";
  }
  all.push_back(of_software(files));
  return all;
}

}  // namespace shmif::perf
