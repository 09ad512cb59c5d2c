// Names of events from libpfm4. No other file includes that library.

#include <linux/perf_event.h>
#include <perfmon/pfmlib.h>
#include <perfmon/pfmlib_perf_event.h>

#include <mutex>

#include "perf/counters/event_names.hpp"

namespace shmif::perf {

Result<CounterEvent> library_event(const std::string& name) {
  static std::mutex mutex;  // libpfm4 does not promise to be thread-safe
  const std::lock_guard lock(mutex);
  static const pfm_err_t ready = pfm_initialize();
  if (ready != PFM_SUCCESS) {
    return Error(Errc::bad_argument, std::string("libpfm4: ") + pfm_strerror(ready));
  }
  perf_event_attr attr{};
  attr.size = sizeof attr;
  pfm_perf_encode_arg_t argument{};
  argument.attr = &attr;
  argument.size = sizeof argument;
  const pfm_err_t found = pfm_get_os_event_encoding(name.c_str(), PFM_PLM0 | PFM_PLM3 | PFM_PLMH,
                                                    PFM_OS_PERF_EVENT_EXT, &argument);
  if (found != PFM_SUCCESS) {
    return Error(Errc::bad_argument, std::string("libpfm4: ") + pfm_strerror(found));
  }
  CounterEvent event;
  event.name = name;
  event.type = attr.type;
  event.config = attr.config;
  event.config1 = attr.config1;
  event.config2 = attr.config2;
  event.exclude_user = attr.exclude_user != 0;
  event.exclude_kernel = attr.exclude_kernel != 0;
  event.exclude_hypervisor = attr.exclude_hv != 0;
  event.exclude_host = attr.exclude_host != 0;
  event.exclude_guest = attr.exclude_guest != 0;
  event.precise = static_cast<std::uint8_t>(attr.precise_ip);
  event.source = "libpfm4";
  pfm_event_info_t info{};
  info.size = sizeof info;
  pfm_pmu_info_t pmu{};
  pmu.size = sizeof pmu;
  if (pfm_get_event_info(argument.idx, PFM_OS_PERF_EVENT_EXT, &info) == PFM_SUCCESS &&
      pfm_get_pmu_info(info.pmu, &pmu) == PFM_SUCCESS) {
    event.source += std::string(", PMU ") + pmu.name;
  }
  return event;
}

}  // namespace shmif::perf
