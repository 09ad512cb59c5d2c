#pragma once
// Which events of the kernel a counter session needs, in which groups, and where.

#include <cstdint>
#include <vector>

#include "instruments/counters/event_sets.hpp"
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/sample_buffers.hpp"
#include "instruments/counters/target_binding.hpp"

namespace shmif::perf {

/// The plan of a group: events that the kernel schedules together. Each place opens its own copy.
struct GroupPlan {
  unsigned set = 0;
  std::vector<std::size_t> events{};
  std::vector<int> cpus{};
  std::uint32_t unit = 0;  ///< the PMU that counts the events; kAnyUnit for software events
  bool sampled = false;
};
/// For events that the kernel counts in software: they can join any group.
inline constexpr std::uint32_t kAnyUnit = ~std::uint32_t{0};

/// Divides events into groups. `group`: puts the events of a set into one group if possible.
/// `first`: plans only the events from this number on.
std::vector<GroupPlan> plan_groups(const EventSets& sets, bool group, std::size_t first = 0);
/// Where to open a group. `online`: the CPUs of the machine that are online.
std::vector<CounterPlace> places_of(const GroupPlan& plan, const TargetBinding& target,
                                    const std::vector<int>& online);
/// `told`: reads of this plan's groups also give the number of lost sample records, if the kernel
/// can count them. `alone`: the group's only event is sampled, and is read without
/// PERF_FORMAT_GROUP: in a read of a group, the kernel may give the losses of a child instead,
/// which are 0.
struct LostRecords {
  bool told = false;
  bool alone = false;
};
LostRecords lost_records_of(const GroupPlan& plan, bool kernel_can) noexcept;

/// How to ask the kernel for an event. `leader`: the event is the leader of its group.
struct AttrOptions {
  bool leader = false;
  LostRecords lost{};
  std::uint32_t ring_pages = 0;
  bool sampled = false;  ///< an event of its group is sampled
};
EventAttr attr_of(const EventSets& sets, std::size_t event, const TargetBinding& target,
                  const AttrOptions& options);
/// The clock of the session: an event whose count is not used. Its times are those of an event that
/// counts all the time.
EventAttr attr_of_clock(const TargetBinding& target);
/// The anchor of a thread: an event that counts nothing, and that no thread inherits (C7).
EventAttr attr_of_anchor();

}  // namespace shmif::perf
