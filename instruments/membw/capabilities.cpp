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
#include "instruments/watch/lines.hpp"

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
  constexpr const char* kName = "membw.pmu";
  constexpr const char* kFile = "/proc/sys/kernel/perf_event_paranoid";
  const auto counters = find_memory_counters(files);
  if (!counters) return {kName, Support::not_supported, counters.error().message, ""};
  const auto level = files.read_signed(kFile);
  if (!level) {
    return {kName, Support::not_supported,
            level.error().message + ": it does not tell what the kernel permits", ""};
  }
  if (*level <= 0 || may_count_all(files)) return {kName, Support::supported, "", ""};
  return {
      kName, Support::not_permitted,
      files.path(kFile) + " is " + std::to_string(*level) + ", and this user has no CAP_PERFMON",
      "sysctl kernel.perf_event_paranoid=0"};
}

Capability of_resctrl(const KernelFiles& files) {
  constexpr const char* kName = "membw.resctrl";
  const auto place = ResctrlSource::find_mount(files);
  if (!place && place.error().code == std::errc::no_such_device) {
    return {kName, Support::not_supported, "resctrl is not mounted",
            "mount -t resctrl resctrl /sys/fs/resctrl"};
  }
  if (!place) return {kName, Support::not_supported, place.error().message, ""};
  const auto events = ResctrlSource::find_events(files, *place);
  if (!events) return {kName, Support::not_supported, events.error().message, ""};
  const std::string groups = files.path(*place + "/mon_groups");
  if (::access(groups.c_str(), W_OK) == 0) return {kName, Support::supported, "", ""};
  return lacking(kName, Error::from_errno(errno, "cannot make groups in " + groups),
                 "run it as root");
}

Capability of_software(const KernelFiles& files) {
  const std::string file = files.path("/proc/self/io"), few = "of buses and network devices only: ";
  const auto io = files.read("/proc/self/io");
  return {"membw.software", Support::supported,
          !io ? few + "there is no " + file +
                    " (the kernel was built without CONFIG_TASK_IO_ACCOUNTING)"
          : !read_process_io(*io) ? few + file + " is not as proc_pid_io(5) describes it"
                                  : "",
          ""};
}

/// Whether allocations of bandwidth and caches can be set.
Capability of_allocation(const KernelFiles& files, const Capability& resctrl) {
  constexpr const char* kName = "membw.allocation";
  const auto place = ResctrlSource::find_mount(files);
  if (!place || resctrl.state != Support::supported || files.has(*place + "/schemata")) {
    return {kName, resctrl.state, resctrl.reason, resctrl.enable_with};
  }
  return {kName, Support::not_supported,
          "there is no " + files.path(*place + "/schemata") +
              ": this machine cannot limit caches or bandwidth",
          ""};
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
