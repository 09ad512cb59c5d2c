#pragma once
// Which events of the kernel a counter session needs, in which groups, and where.

#include <cstdint>
#include <vector>

#include "perf/counters/event_sets.hpp"
#include "perf/counters/kernel_counters.hpp"
#include "perf/counters/sample_buffers.hpp"
#include "perf/counters/target_binding.hpp"

namespace shmif::perf {

/// Events that the kernel schedules together, before they are opened at each of their places.
struct GroupPlan {
  unsigned set = 0;
  std::vector<std::size_t> events{};
  std::vector<int> cpus{};
  std::uint32_t unit = 0;  ///< the PMU that counts it; kAnyUnit if software does
  bool sampled = false;
};
/// For events that the kernel counts by itself: they join any group.
inline constexpr std::uint32_t kAnyUnit = ~std::uint32_t{0};

/// `group`: the events of a set are one group if they can be. `first`: only of the events from this
/// number on.
std::vector<GroupPlan> plan_groups(const EventSets& sets, bool group, std::size_t first = 0);
/// `online`: the CPUs of the machine.
std::vector<CounterPlace> places_of(const GroupPlan& plan, const TargetBinding& target,
                                    const std::vector<int>& online);
/// The groups of this plan tell with their values how many records of samples were lost, if the
/// kernel can. A sampled event that is alone is read alone: in the values of a group, its children
/// may stand in for it, and theirs are 0.
struct LostRecords {
  bool told = false;
  bool alone = false;
};
LostRecords lost_records_of(const GroupPlan& plan, bool kernel_can) noexcept;

/// How the kernel is asked for an event. `leader`: of its group.
struct AttrOptions {
  bool leader = false;
  LostRecords lost{};
  std::uint32_t ring_pages = 0;
  bool sampled = false;  ///< an event of its group is
};
EventAttr attr_of(const EventSets& sets, std::size_t event, const TargetBinding& target,
                  const AttrOptions& options);
/// The clock of the session: counts nothing, but has the times of an event that counts all the
/// time.
EventAttr attr_of_clock(const TargetBinding& target);

}  // namespace shmif::perf
