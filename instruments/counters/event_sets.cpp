#include "instruments/counters/event_sets.hpp"

#include <linux/perf_event.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <algorithm>
#include <ctime>
#include <set>
#include <utility>

#include "instruments/counters/sample_buffers.hpp"

namespace shmif::perf {
namespace {

Error wrong_element(std::size_t element, const std::string& why) {
  return {CounterErrc::invalid, "element " + std::to_string(element) + ": " + why};
}

std::string set_name(unsigned id) {
  return "event set " + std::to_string(id);
}

/// Why an event cannot be sampled with these settings; empty if it can.
std::string wrong_sampling(const Sampling& sampling) {
  if (sampling.period != 0 && sampling.frequency != 0) {
    return "it has both a period and a frequency";
  }
  if (is_trigger(sampling) && sampling.period == 0) {
    return "it masks or switches at an overflow, and has no period";
  }
  if (sampling.mask && sampling.switch_set) return "it can mask or switch sets, not both";
  if ((sampling.fields & ~(kOwnFields | kOptionalFields)) != 0) {
    return "it asks for fields that samples do not have here";
  }
  return {};
}

}  // namespace

CountSum& CountSum::operator+=(const CountSum& other) noexcept {
  value += other.value;
  enabled_ns += other.enabled_ns;
  running_ns += other.running_ns;
  return *this;
}

// ---- Sets ----

Result<void> EventSets::check(std::span<const SetSetup> sets) const {
  std::set<unsigned> ids;
  for (std::size_t at = 0; at < sets.size(); ++at) {
    if (!ids.insert(sets[at].id).second) {
      return wrong_element(at, set_name(sets[at].id) + " is there twice");
    }
    if (sets[at].turn < std::chrono::nanoseconds(0)) {
      return wrong_element(at, set_name(sets[at].id) + " has a turn of less than no time");
    }
  }
  return {};
}

void EventSets::forget_events_of(unsigned id) {
  for (auto& event : events_) {
    if (event && event->setup.set == id) event.reset();
  }
}

Result<void> EventSets::create(std::span<const SetSetup> sets) {
  if (auto right = check(sets); !right) return right;
  for (const SetSetup& setup : sets) {
    forget_events_of(setup.id);
    sets_[setup.id] = Set{setup};
  }
  return {};
}

Result<void> EventSets::remove(std::span<const unsigned> ids) {
  std::set<unsigned> seen;
  for (std::size_t at = 0; at < ids.size(); ++at) {
    if (ids[at] == 0) return wrong_element(at, "event set 0 always exists");
    if (!has(ids[at])) return wrong_element(at, "no " + set_name(ids[at]));
    if (!seen.insert(ids[at]).second)
      return wrong_element(at, set_name(ids[at]) + " is there twice");
  }
  for (const unsigned id : ids) {
    forget_events_of(id);
    sets_.erase(id);
    if (active_ == id) active_ = 0;
  }
  return {};
}

Result<void> EventSets::query(std::span<SetQuery> sets, std::optional<std::uint64_t> clock) const {
  for (std::size_t at = 0; at < sets.size(); ++at) {
    if (!has(sets[at].id)) return wrong_element(at, "no " + set_name(sets[at].id));
  }
  for (SetQuery& query : sets) {
    const Set& set = sets_.at(query.id);
    query.events = static_cast<std::size_t>(std::ranges::count_if(
        events_, [&](const auto& event) { return event && event->setup.set == query.id; }));
    query.activations = set.activations;
    query.is_active = query.id == active_;
    query.active_ns = set.active_ns;
    if (query.is_active && clock) query.active_ns += *clock - set.active_since;
  }
  return {};
}

unsigned EventSets::next() const {
  const auto next = sets_.upper_bound(active_);
  return next == sets_.end() ? sets_.begin()->first : next->first;
}

void EventSets::begin_turn(std::uint64_t clock, Clock::time_point now) {
  Set& set = sets_.at(active_);
  ++set.activations;
  set.active_since = clock;
  turn_end_ = now + set.setup.turn;
}

void EventSets::end_turn(std::optional<std::uint64_t> clock) {
  Set& set = sets_.at(active_);
  if (clock) set.active_ns += *clock - std::min(*clock, set.active_since);
}

void EventSets::extend_turn(Clock::time_point now) {
  turn_end_ = now + sets_.at(active_).setup.turn;
}

int EventSets::turn_left_ms(Clock::time_point now) const {
  if (sets_.at(active_).setup.turn.count() == 0) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(turn_end_ - now).count();
  constexpr long kLongestMs = 3'600'000;
  return static_cast<int>(std::clamp<long>(left, 0, kLongestMs));
}

// ---- Events ----

/// Whether the set has an event that masks or switches, among its own events or those in `beside`.
bool EventSets::has_trigger(unsigned set, std::span<const EventSetup> beside) const {
  const auto triggers = [set](const EventSetup& setup) {
    return setup.set == set && is_trigger(setup.sampling);
  };
  return std::ranges::any_of(beside, triggers) ||
         std::ranges::any_of(events_,
                             [&](const auto& other) { return other && triggers(other->setup); });
}

Result<std::size_t> EventSets::program(std::span<const EventSetup> events, std::uint64_t clock) {
  for (std::size_t at = 0; at < events.size(); ++at) {
    const EventSetup& setup = events[at];
    const std::string name = '"' + setup.event.name + "\": ";
    if (!has(setup.set)) return wrong_element(at, name + "no " + set_name(setup.set));
    const std::string wrong = wrong_sampling(setup.sampling);
    if (!wrong.empty()) return wrong_element(at, name + wrong);
    if (is_trigger(setup.sampling) && has_trigger(setup.set, events.first(at))) {
      return wrong_element(at, name + "its set has an event that masks or switches already");
    }
  }
  const std::size_t first = events_.size();
  for (const EventSetup& setup : events) events_.emplace_back(ProgrammedEvent{setup, 0, {}, clock});
  return first;
}

Result<void> EventSets::check(std::span<const ValueSetup> values) const {
  for (std::size_t at = 0; at < values.size(); ++at) {
    const ValueSetup& value = values[at];
    if (value.event >= events_.size() || !events_[value.event]) {
      return wrong_element(at, "no event " + std::to_string(value.event));
    }
    if (!value.period) continue;
    const Sampling& sampling = setup(value.event).sampling;
    if (sampling.period == 0 || *value.period == 0) {
      return wrong_element(
          at, name_of(value.event) + (sampling.period == 0 ? " is not sampled by a period"
                                                           : " cannot have a period of 0"));
    }
  }
  return {};
}

Result<void> EventSets::check(std::span<const Reading> readings) const {
  for (std::size_t at = 0; at < readings.size(); ++at) {
    const std::size_t number = readings[at].event;
    if (number >= events_.size() || !events_[number]) {
      return wrong_element(at, "no event " + std::to_string(number));
    }
  }
  return {};
}

bool EventSets::any_mask() const noexcept {
  return std::ranges::any_of(events_,
                             [](const auto& event) { return event && event->setup.sampling.mask; });
}

void EventSets::want_all() noexcept {
  for (auto& event : events_) {
    if (event) event->wanted = true;
  }
}

void EventSets::want(std::span<const Reading> readings) noexcept {
  for (const Reading& reading : readings) events_[reading.event]->wanted = true;
}

void EventSets::want_none() noexcept {
  for (auto& event : events_) {
    if (event) event->wanted = false;
  }
}

void EventSets::keep_counts() noexcept {
  for (auto& event : events_) {
    if (event) event->before += event->now;
  }
}

void EventSets::give(const ValueSetup& value, std::uint64_t clock) {
  ProgrammedEvent& event = *events_[value.event];
  if (value.period) event.setup.sampling.period = *value.period;
  if (!value.value) return;
  event.initial = *value.value;
  event.before = {0 - event.now.value, 0 - event.now.enabled_ns, 0 - event.now.running_ns};
  event.clock_begin = clock;
}

std::optional<double> EventSets::scaled(const ProgrammedEvent& event, const CountSum& sum,
                                        std::uint64_t clock) const {
  if (sum.running_ns == 0) return std::nullopt;
  const auto counted = static_cast<double>(sum.value);
  const auto running = static_cast<double>(sum.running_ns);
  // With one set, only the kernel switches events, and its own times tell how long each counted.
  const std::uint64_t since = alone() ? sum.enabled_ns : clock - event.clock_begin;
  const double share = std::max(1.0, static_cast<double>(since) / running);
  return static_cast<double>(event.initial) + counted * share;
}

void EventSets::fill(Reading& reading, std::uint64_t clock) const {
  const ProgrammedEvent& event = *events_[reading.event];
  CountSum sum = event.before;
  sum += event.now;
  reading.value = event.initial + sum.value;
  reading.enabled_ns = sum.enabled_ns;
  reading.running_ns = sum.running_ns;
  reading.scaled = scaled(event, sum, clock);
}

SetSwitcher::SetSwitcher(Look look)
    : look_(std::move(look)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

SetSwitcher::~SetSwitcher() {
  request_stop();
}

void SetSwitcher::wake() const noexcept {
  (void)::eventfd_write(wake_.get(), 1);
}

void SetSwitcher::request_stop() noexcept {
  thread_.request_stop();
  wake();
}

void SetSwitcher::run(const std::stop_token& stop) {
  std::vector<pollfd> wakers;
  for (;;) {  // until look_ ends it
    wakers.assign(1, {wake_.get(), POLLIN, 0});
    const std::optional<int> left = look_(stop, wakers);
    if (!left) return;
    ::poll(wakers.data(), wakers.size(), *left);
    eventfd_t ignored = 0;
    (void)::eventfd_read(wake_.get(), &ignored);
  }
}

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
