// Programming events, and reading what they counted.

#include <linux/perf_event.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "perf/counters/session_impl.hpp"

namespace shmif::perf {
namespace {

/// Positions in what a read of a group gives.
constexpr std::size_t kCount = 0;
constexpr std::size_t kEnabled = 1;
constexpr std::size_t kRunning = 2;
constexpr std::size_t kHead = 3;

Error bad_element(std::size_t element, const std::string& why) {
  return {CounterErrc::invalid, "element " + std::to_string(element) + ": " + why};
}

/// Why this event cannot be sampled so; empty if it can.
std::string wrong_sampling(const Sampling& sampling) {
  if (sampling.period != 0 && sampling.frequency != 0) {
    return "it has both a period and a frequency";
  }
  const bool trigger = sampling.mask || sampling.switch_set;
  if (trigger && sampling.period == 0) {
    return "it masks or switches at an overflow, and has no period";
  }
  if (sampling.mask && sampling.switch_set) return "it can mask or switch sets, not both";
  if ((sampling.fields & ~(kOwnFields | kOptionalFields)) != 0) {
    return "it asks for fields that samples do not have here";
  }
  return {};
}

}  // namespace

Result<std::size_t> CounterSession::Impl::program(std::span<const EventSetup> events) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::program); !may) return may.error();
  const auto triggers = [](const EventSetup& setup, unsigned set) {
    return setup.set == set && (setup.sampling.mask || setup.sampling.switch_set);
  };
  for (std::size_t at = 0; at < events.size(); ++at) {
    const EventSetup& setup = events[at];
    const std::string name = '"' + setup.event.name + "\": ";
    if (!sets_.contains(setup.set)) {
      return bad_element(at, name + "no event set " + std::to_string(setup.set));
    }
    const std::string wrong = wrong_sampling(setup.sampling);
    if (!wrong.empty()) return bad_element(at, name + wrong);
    const bool second =
        triggers(setup, setup.set) &&
        (std::ranges::any_of(events.first(at),
                             [&](const auto& other) { return triggers(other, setup.set); }) ||
         std::ranges::any_of(events_, [&](const auto& other) {
           return other && triggers(other->setup, setup.set);
         }));
    if (second)
      return bad_element(at, name + "its set has an event that masks or switches already");
  }
  const std::size_t first = events_.size();
  for (const EventSetup& setup : events) events_.emplace_back(Event{setup, 0, {}, clock_before_});
  return first;
}

Result<void> CounterSession::Impl::set_values(std::span<const ValueSetup> values) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::set_values); !may) return may;
  for (std::size_t at = 0; at < values.size(); ++at) {
    const ValueSetup& value = values[at];
    if (value.event >= events_.size() || !events_[value.event]) {
      return bad_element(at, "no event " + std::to_string(value.event));
    }
    if (!value.period) continue;
    const Sampling& sampling = events_[value.event]->setup.sampling;
    if (sampling.period == 0 || *value.period == 0) {
      return bad_element(
          at, event_name(value.event) + (sampling.period == 0 ? " is not sampled by a period"
                                                              : " cannot have a period of 0"));
    }
  }
  for (auto& event : events_) {
    if (event) event->wanted = true;
  }
  if (auto read = read_wanted(); !read) return read;
  const auto clock = clock_now();
  if (!clock) return clock.error();
  // Periods first: only they can fail.
  for (std::size_t at = 0; at < values.size(); ++at) {
    const ValueSetup& value = values[at];
    if (!value.period) continue;
    for (const Group& group : groups_) {
      for (const Member& member : group.members) {
        if (member.event != value.event) continue;
        std::uint64_t period = *value.period;
        const int got = kernel_.control(member.file, PERF_EVENT_IOC_PERIOD,
                                        reinterpret_cast<std::uintptr_t>(&period));
        if (got >= 0) continue;
        restore_periods(values.first(at + 1));
        return Error::from_errno(-got, "element " + std::to_string(at) +
                                           ": cannot set the period of " + event_name(value.event));
      }
    }
  }
  for (const ValueSetup& value : values) {
    Event& event = *events_[value.event];
    if (value.period) event.setup.sampling.period = *value.period;
    if (!value.value) continue;
    event.initial = *value.value;
    event.before = {0 - event.now.value, 0 - event.now.enabled_ns, 0 - event.now.running_ns};
    event.clock_begin = *clock;
  }
  return {};
}

void CounterSession::Impl::restore_periods(std::span<const ValueSetup> values) {
  for (const ValueSetup& value : values) {
    if (!value.period) continue;
    std::uint64_t period = events_[value.event]->setup.sampling.period;
    for (const Group& group : groups_) {
      for (const Member& member : group.members) {
        if (member.event != value.event) continue;
        (void)kernel_.control(member.file, PERF_EVENT_IOC_PERIOD,
                              reinterpret_cast<std::uintptr_t>(&period));
      }
    }
  }
}

Result<void> CounterSession::Impl::read_group(const Group& group) {
  const std::size_t words = kHead + 2 * group.members.size();
  const std::size_t bytes = words * sizeof(std::uint64_t);
  const ssize_t got = kernel_.read(group.leader(), words_.data(), bytes);
  const auto name = [&] { return "cannot read " + event_name(group.members.front().event); };
  if (got < 0) return Error::from_errno(static_cast<int>(-got), name());
  if (static_cast<std::size_t>(got) != bytes || words_[kCount] != group.members.size()) {
    return Error::from_errno(
        EIO, name(),
        "the kernel gave " + std::to_string(got) + " bytes of " + std::to_string(bytes));
  }
  for (std::size_t at = 0; at < group.members.size(); ++at) {
    const std::uint64_t value = words_[kHead + 2 * at];
    const std::uint64_t id = words_[kHead + 2 * at + 1];
    const auto member = std::ranges::find(group.members, id, &Member::id);
    if (member == group.members.end()) {
      return Error::from_errno(EIO, name(), "the kernel gave the value of another event");
    }
    CountSum& sum = events_[member->event]->now;
    sum.value += value;
    sum.enabled_ns += words_[kEnabled];
    sum.running_ns += words_[kRunning];
  }
  return {};
}

/// Reads the events that are `wanted`, since the load, into `now`.
Result<void> CounterSession::Impl::read_wanted() {
  for (auto& event : events_) {
    if (event) event->now = {};
  }
  Result<void> outcome;
  for (const Group& group : groups_) {
    const bool wanted = std::ranges::any_of(
        group.members, [&](const Member& member) { return events_[member.event]->wanted; });
    if (!wanted || !outcome) continue;
    outcome = read_group(group);
  }
  for (auto& event : events_) {
    if (event) event->wanted = false;
  }
  return outcome;
}

/// Of all loads.
Result<std::uint64_t> CounterSession::Impl::clock_now() {
  std::uint64_t sum = clock_before_;
  for (const int clock : clocks_) {
    std::array<std::uint64_t, kHead> words{};
    const ssize_t got = kernel_.read(clock, words.data(), sizeof words);
    if (got == sizeof words) {
      sum += words[kEnabled];
    } else {
      return Error::from_errno(got < 0 ? static_cast<int>(-got) : EIO,
                               "cannot read the session's clock");
    }
  }
  return sum;
}

Result<std::uint64_t> CounterSession::Impl::clock_ns() {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::read); !may) return may.error();
  return clock_now();
}

std::optional<double> CounterSession::Impl::scaled(const Event& event, const CountSum& sum,
                                                   std::uint64_t clock) const {
  if (sum.running_ns == 0) return std::nullopt;
  const auto counted = static_cast<double>(sum.value);
  const auto running = static_cast<double>(sum.running_ns);
  // With one set, only the kernel switches, and its own times say how often.
  const std::uint64_t since = sets_.size() > 1 ? clock - event.clock_begin : sum.enabled_ns;
  const double share = std::max(1.0, static_cast<double>(since) / running);
  return static_cast<double>(event.initial) + counted * share;
}

Result<void> CounterSession::Impl::hold_target(std::vector<std::pair<pid_t, int>>& held) {
  const auto is_held = [&](pid_t thread) {
    return std::ranges::find(held, thread, &std::pair<pid_t, int>::first) != held.end();
  };
  const pid_t number = target_.task.number;
  for (bool more = true; more;) {  // until there is no thread that still runs
    more = false;
    const auto threads = target_.kind == CounterTarget::Kind::thread ? std::vector<pid_t>{number}
                                                                     : kernel_.threads(number);
    for (const pid_t thread : threads) {
      if (is_held(thread)) continue;
      const int signal = kernel_.hold(thread);
      if (signal == -ESRCH) continue;
      if (signal < 0) {
        return Error::from_errno(-signal, "cannot stop thread " + std::to_string(thread),
                                 "stopping needs the rights of a debugger: see "
                                 "kernel.yama.ptrace_scope, and whether one is attached");
      }
      held.emplace_back(thread, signal);
      more = true;
    }
  }
  return {};
}

Result<void> CounterSession::Impl::read(std::span<Reading> readings, bool stop_target) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::read); !may) return may;
  for (std::size_t at = 0; at < readings.size(); ++at) {
    const std::size_t number = readings[at].event;
    if (number >= events_.size() || !events_[number]) {
      return bad_element(at, "no event " + std::to_string(number));
    }
  }
  if (stop_target && target_.kind == CounterTarget::Kind::cpu) {
    return Error(CounterErrc::invalid, "CPUs cannot be stopped for a read");
  }
  std::vector<std::pair<pid_t, int>> held;
  const bool hold = stop_target && counts() && !own_;
  Result<void> outcome;
  if (hold) {
    outcome = hold_target(held);
    update();  // the target may have ended, or a set may have had its turn
  }
  for (const Reading& reading : readings) events_[reading.event]->wanted = true;
  if (outcome) outcome = read_wanted();
  const auto clock = clock_now();
  for (const auto& [thread, signal] : held) kernel_.release(thread, signal);
  if (outcome && !clock) outcome = clock.error();
  if (!outcome) {
    for (const Reading& reading : readings) events_[reading.event]->wanted = false;
    return outcome;
  }
  for (Reading& reading : readings) {
    const Event& event = *events_[reading.event];
    const CountSum sum{event.before.value + event.now.value,
                       event.before.enabled_ns + event.now.enabled_ns,
                       event.before.running_ns + event.now.running_ns};
    reading.value = event.initial + sum.value;
    reading.enabled_ns = sum.enabled_ns;
    reading.running_ns = sum.running_ns;
    reading.scaled = scaled(event, sum, *clock);
    reading.one_instant = !counts() || hold;
  }
  return {};
}

}  // namespace shmif::perf
