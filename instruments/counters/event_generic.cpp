// The kernel's generic events.

#include <linux/perf_event.h>

#include <algorithm>
#include <array>
#include <map>

#include "instruments/counters/event_names.hpp"

namespace shmif::perf {
namespace {

struct Generic {
  const char* name;
  const char* other;  ///< a second name; may be empty
  std::uint64_t config;
};
constexpr std::array kSoftware = {
    Generic{"cpu-clock", "", PERF_COUNT_SW_CPU_CLOCK},
    Generic{"task-clock", "", PERF_COUNT_SW_TASK_CLOCK},
    Generic{"page-faults", "faults", PERF_COUNT_SW_PAGE_FAULTS},
    Generic{"context-switches", "cs", PERF_COUNT_SW_CONTEXT_SWITCHES},
    Generic{"cpu-migrations", "migrations", PERF_COUNT_SW_CPU_MIGRATIONS},
    Generic{"minor-faults", "", PERF_COUNT_SW_PAGE_FAULTS_MIN},
    Generic{"major-faults", "", PERF_COUNT_SW_PAGE_FAULTS_MAJ},
    Generic{"alignment-faults", "", PERF_COUNT_SW_ALIGNMENT_FAULTS},
    Generic{"emulation-faults", "", PERF_COUNT_SW_EMULATION_FAULTS},
    Generic{"dummy", "", PERF_COUNT_SW_DUMMY},
    Generic{"cgroup-switches", "", PERF_COUNT_SW_CGROUP_SWITCHES},
};
constexpr std::array kHardware = {
    Generic{"cycles", "cpu-cycles", PERF_COUNT_HW_CPU_CYCLES},
    Generic{"instructions", "", PERF_COUNT_HW_INSTRUCTIONS},
    Generic{"cache-references", "", PERF_COUNT_HW_CACHE_REFERENCES},
    Generic{"cache-misses", "", PERF_COUNT_HW_CACHE_MISSES},
    Generic{"branches", "branch-instructions", PERF_COUNT_HW_BRANCH_INSTRUCTIONS},
    Generic{"branch-misses", "", PERF_COUNT_HW_BRANCH_MISSES},
    Generic{"bus-cycles", "", PERF_COUNT_HW_BUS_CYCLES},
    Generic{"stalled-cycles-frontend", "idle-cycles-frontend",
            PERF_COUNT_HW_STALLED_CYCLES_FRONTEND},
    Generic{"stalled-cycles-backend", "idle-cycles-backend", PERF_COUNT_HW_STALLED_CYCLES_BACKEND},
    Generic{"ref-cycles", "", PERF_COUNT_HW_REF_CPU_CYCLES},
};
constexpr std::array kCaches = {
    Generic{"L1-dcache", "", PERF_COUNT_HW_CACHE_L1D},
    Generic{"L1-icache", "", PERF_COUNT_HW_CACHE_L1I},
    Generic{"LLC", "", PERF_COUNT_HW_CACHE_LL},
    Generic{"dTLB", "", PERF_COUNT_HW_CACHE_DTLB},
    Generic{"iTLB", "", PERF_COUNT_HW_CACHE_ITLB},
    Generic{"branch", "", PERF_COUNT_HW_CACHE_BPU},
    Generic{"node", "", PERF_COUNT_HW_CACHE_NODE},
};
constexpr std::array kOperations = {
    Generic{"load", "", PERF_COUNT_HW_CACHE_OP_READ},
    Generic{"store", "", PERF_COUNT_HW_CACHE_OP_WRITE},
    Generic{"prefetch", "", PERF_COUNT_HW_CACHE_OP_PREFETCH},
};

using Events = std::map<std::string, CounterEvent, std::less<>>;

void add(Events& events, const std::string& name, std::uint32_t type, std::uint64_t config) {
  CounterEvent event;
  event.name = name;
  event.type = type;
  event.config = config;
  event.source = type == PERF_TYPE_SOFTWARE ? "kernel, software" : "kernel, generic hardware";
  if (name.ends_with("-clock")) event.unit = "ns";
  events.emplace(name, std::move(event));  // the first event with a name stays
}

Events all_events() {
  constexpr unsigned kOperationShift = 8;
  constexpr unsigned kResultShift = 16;
  Events events;
  for (const Generic& each : kSoftware) {
    add(events, each.name, PERF_TYPE_SOFTWARE, each.config);
    if (*each.other != '\0') add(events, each.other, PERF_TYPE_SOFTWARE, each.config);
  }
  for (const Generic& each : kHardware) {
    add(events, each.name, PERF_TYPE_HARDWARE, each.config);
    if (*each.other != '\0') add(events, each.other, PERF_TYPE_HARDWARE, each.config);
  }
  for (const Generic& cache : kCaches) {
    for (const Generic& operation : kOperations) {
      const std::string name = std::string(cache.name) + '-' + operation.name;
      const std::uint64_t config = cache.config | operation.config << kOperationShift;
      const std::string plural = std::string(operation.name) == "prefetch" ? "es" : "s";
      add(events, name + plural, PERF_TYPE_HW_CACHE,
          config | std::uint64_t{PERF_COUNT_HW_CACHE_RESULT_ACCESS} << kResultShift);
      add(events, name + "-misses", PERF_TYPE_HW_CACHE,
          config | std::uint64_t{PERF_COUNT_HW_CACHE_RESULT_MISS} << kResultShift);
    }
  }
  return events;
}

const Events& events_by_name() {
  static const Events events = all_events();
  return events;
}

}  // namespace

const CounterEvent* generic_event(std::string_view name) {
  const auto found = events_by_name().find(name);
  return found == events_by_name().end() ? nullptr : &found->second;
}

const std::vector<std::string>& generic_event_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const auto& [name, event] : events_by_name()) all.push_back(name);
    return all;
  }();
  return names;
}

}  // namespace shmif::perf
