#include "instruments/counters/group_plan.hpp"

#include <linux/perf_event.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

namespace shmif::perf {
namespace {

std::uint32_t unit_of(const CounterEvent& event) noexcept {
  switch (event.type) {
    case PERF_TYPE_SOFTWARE:
    case PERF_TYPE_TRACEPOINT: return kAnyUnit;
    case PERF_TYPE_HW_CACHE:
    case PERF_TYPE_RAW: return PERF_TYPE_HARDWARE;
    default: return event.type;
  }
}

void put_event(perf_event_attr& attr, const CounterEvent& what) {
  attr.type = what.type;
  attr.config = what.config;
  attr.config1 = what.config1;
  attr.config2 = what.config2;
  attr.exclude_user = what.exclude_user;
  attr.exclude_kernel = what.exclude_kernel;
  attr.exclude_hv = what.exclude_hypervisor;
  attr.exclude_host = what.exclude_host;
  attr.exclude_guest = what.exclude_guest;
  attr.precise_ip = what.precise & 3U;
}

/// `first`: the records besides samples (mappings, forks, ...) come with this event.
void put_sampling(perf_event_attr& attr, const Sampling& sampling, bool spread, bool first,
                  std::uint32_t ring_pages) {
  attr.sample_type = SampleBuffers::fields_of(sampling, spread);
  attr.sample_id_all = spread;
  attr.freq = sampling.frequency != 0;
  attr.sample_period = attr.freq != 0 ? sampling.frequency : sampling.period;
  if (is_trigger(sampling)) {
    attr.wakeup_events = 1;
    return;
  }
  constexpr std::uint32_t kQuarter = 4;
  attr.watermark = 1;
  attr.wakeup_watermark =
      static_cast<__u32>(ring_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))) /
      kQuarter;
  attr.mmap = first;
  attr.mmap2 = first;
  attr.comm = first;
  attr.comm_exec = first;
  attr.task = first;
}

}  // namespace

std::vector<GroupPlan> plan_groups(const EventSets& sets, bool group, std::size_t first) {
  std::vector<GroupPlan> plans;
  const auto add = [&](std::size_t number, bool trigger) {
    const EventSetup& setup = sets.setup(number);
    const std::uint32_t unit = unit_of(setup.event);
    const auto joins = [&](const GroupPlan& plan) {
      const bool one_unit = plan.unit == unit || plan.unit == kAnyUnit || unit == kAnyUnit;
      return plan.set == setup.set && plan.cpus == setup.event.cpus && one_unit;
    };
    const auto found = group && !trigger ? std::ranges::find_if(plans, joins) : plans.end();
    GroupPlan& plan = found != plans.end()
                          ? *found
                          : plans.emplace_back(GroupPlan{setup.set, {}, setup.event.cpus, unit});
    plan.events.push_back(number);
    plan.sampled = plan.sampled || setup.sampling.on();
    if (plan.unit == kAnyUnit) plan.unit = unit;
  };
  // An event that stops its group at an overflow must be the leader.
  for (const bool triggers : {true, false}) {
    for (std::size_t at = first; at < sets.events().size(); ++at) {
      if (!sets.events()[at]) continue;
      if (is_trigger(sets.setup(at).sampling) == triggers) add(at, triggers);
    }
  }
  return plans;
}

std::vector<CounterPlace> places_of(const GroupPlan& plan, const TargetBinding& target,
                                    const std::vector<int>& online) {
  const std::vector<int>& watched = target.target().cpus;
  std::vector<CounterPlace> places;
  if (!plan.cpus.empty()) {
    for (const int cpu : plan.cpus) {
      const bool ours = target.is_task() || std::ranges::find(watched, cpu) != watched.end();
      if (ours) places.push_back({-1, cpu});
    }
    return places;
  }
  if (!target.is_task()) {
    for (const int cpu : watched) places.push_back({-1, cpu});
    return places;
  }
  // The kernel gives an event that children inherit a ring only if the event is for one CPU.
  const bool by_cpu = plan.sampled && target.is_process();
  for (const pid_t thread : target.threads()) {
    for (const int cpu : by_cpu ? online : std::vector<int>{-1}) places.push_back({thread, cpu});
  }
  return places;
}

LostRecords lost_records_of(const GroupPlan& plan, bool kernel_can) noexcept {
  const bool told = plan.sampled && kernel_can;
  return {told, told && plan.events.size() == 1};
}

EventAttr attr_of(const EventSets& sets, std::size_t event, const TargetBinding& target,
                  const AttrOptions& options) {
  const EventSetup& setup = sets.setup(event);
  const bool everybody = !setup.event.cpus.empty() || !target.is_task();
  EventAttr attr;
  put_event(attr.base, setup.event);
  attr.config3 = setup.event.config3;
  attr.base.disabled = options.leader;
  attr.base.enable_on_exec =
      options.leader && setup.set == sets.active() && target.target().on_exec;
  attr.base.inherit = !everybody && target.is_process();
  attr.base.read_format =
      PERF_FORMAT_ID | PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
  if (!options.lost.alone) attr.base.read_format |= PERF_FORMAT_GROUP;
  if (options.lost.told) attr.base.read_format |= kFormatLost;
  if (options.sampled || setup.sampling.on()) {
    // All events of a group must have the same clock.
    attr.base.use_clockid = 1;
    attr.base.clockid = CLOCK_MONOTONIC;
  }
  if (!setup.sampling.on()) return attr;
  const auto first = std::ranges::find_if(
      sets.events(), [](const auto& other) { return other && other->setup.sampling.on(); });
  put_sampling(attr.base, setup.sampling, target.is_spread(), &*first == &sets.events()[event],
               options.ring_pages);
  return attr;
}

EventAttr attr_of_clock(const TargetBinding& target) {
  EventAttr attr = attr_of_anchor();
  attr.base.enable_on_exec = target.target().on_exec;
  attr.base.inherit = target.is_process();
  attr.base.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
  return attr;
}

EventAttr attr_of_anchor() {
  EventAttr attr;
  attr.base.type = PERF_TYPE_SOFTWARE;
  attr.base.config = PERF_COUNT_SW_DUMMY;
  attr.base.exclude_kernel = 1;
  attr.base.exclude_hv = 1;
  attr.base.disabled = 1;
  return attr;
}

}  // namespace shmif::perf
