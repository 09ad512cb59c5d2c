#pragma once
// The events that a counter session was programmed with, their sets, which set is active, and
// the thread that changes it. The sets make no system calls.

#include <poll.h>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/session.hpp"

namespace shmif::perf {

/// The counts of an event.
struct CountSum {
  std::uint64_t value = 0;
  std::uint64_t enabled_ns = 0;
  std::uint64_t running_ns = 0;
  CountSum& operator+=(const CountSum& other) noexcept;
};

struct ProgrammedEvent {
  EventSetup setup;
  std::uint64_t initial = 0;  ///< the value counts on from here
  CountSum before{};          ///< counts of earlier loads, since `initial` was set
  std::uint64_t clock_begin = 0;
  CountSum now{};       ///< counts since the load, of the newest read
  bool wanted = false;  ///< that read asks for this event
};

/// Threads: one at a time.
class EventSets {
 public:
  using Clock = std::chrono::steady_clock;

  /// Errors of create() and remove(): invalid, with the first wrong element; nothing is changed.
  Result<void> create(std::span<const SetSetup> sets);
  Result<void> remove(std::span<const unsigned> ids);
  /// Adds events. `clock`: the session's clock now. Result: the number of the first event.
  Result<std::size_t> program(std::span<const EventSetup> events, std::uint64_t clock);
  /// Removes the events from number `first` on.
  void forget_from(std::size_t first) { events_.resize(first); }
  Result<void> check(std::span<const ValueSetup> values) const;
  Result<void> check(std::span<const Reading> readings) const;
  /// `clock`: the session's clock, if the session counts.
  Result<void> query(std::span<SetQuery> sets, std::optional<std::uint64_t> clock) const;

  /// The events, indexed by their numbers. An event whose set was deleted is empty.
  std::vector<std::optional<ProgrammedEvent>>& events() noexcept { return events_; }
  const std::vector<std::optional<ProgrammedEvent>>& events() const noexcept { return events_; }
  const EventSetup& setup(std::size_t event) const { return events_[event]->setup; }
  /// "\"cycles\"".
  std::string name_of(std::size_t event) const { return '"' + setup(event).event.name + '"'; }
  /// Whether an overflow of one of the events masks the session.
  bool any_mask() const noexcept;

  void want_all() noexcept;
  void want(std::span<const Reading> readings) noexcept;
  void want_none() noexcept;
  /// Keeps what was read for a later load.
  void keep_counts() noexcept;
  void give(const ValueSetup& value, std::uint64_t clock);
  /// Fills a reading from what was read. `clock`: the session's clock.
  void fill(Reading& reading, std::uint64_t clock) const;

  bool has(unsigned id) const { return sets_.contains(id); }
  bool alone() const noexcept { return sets_.size() < 2; }
  unsigned active() const noexcept { return active_; }
  unsigned next() const;  ///< the set after the active one
  void choose(unsigned id) noexcept { active_ = id; }

  /// Begins the turn of the active set; the session's clock is at `clock`.
  void begin_turn(std::uint64_t clock, Clock::time_point now);
  void end_turn(std::optional<std::uint64_t> clock);
  /// Gives the active set a new full turn, because the target did not run during this one.
  void extend_turn(Clock::time_point now);
  std::uint64_t turn_began() const { return sets_.at(active_).active_since; }
  /// How long the turn still lasts; -1: it does not end by time.
  int turn_left_ms(Clock::time_point now) const;

 private:
  struct Set {
    SetSetup setup;
    std::uint64_t activations = 0;
    std::uint64_t active_ns = 0;
    std::uint64_t active_since = 0;  ///< by the session's clock; valid while the set is active
  };
  Result<void> check(std::span<const SetSetup> sets) const;
  bool has_trigger(unsigned set, std::span<const EventSetup> beside) const;
  std::optional<double> scaled(const ProgrammedEvent& event, const CountSum& sum,
                               std::uint64_t clock) const;
  void forget_events_of(unsigned id);

  std::vector<std::optional<ProgrammedEvent>> events_;
  std::map<unsigned, Set> sets_{{0, Set{}}};
  unsigned active_ = 0;
  Clock::time_point turn_end_{};
};

/// Whether an overflow of an event with this sampling masks the session or switches sets.
constexpr bool is_trigger(const Sampling& sampling) noexcept {
  return sampling.mask || sampling.switch_set;
}

/// The thread that gives each event set of a session its turn.
/// Threads: one at a time, unless a function says otherwise.
class SetSwitcher {
 public:
  /// What the thread does in each round: checks which set has its turn, and adds the descriptors to
  /// wait for. Result: how many milliseconds to wait at most, -1: without a limit; empty: the
  /// thread must end, because it was asked to.
  using Look =
      std::function<std::optional<int>(const std::stop_token& stop, std::vector<pollfd>& wakers)>;

  explicit SetSwitcher(Look look);
  SetSwitcher(const SetSwitcher&) = delete;
  SetSwitcher& operator=(const SetSwitcher&) = delete;
  /// Blocks: until the thread has ended.
  ~SetSwitcher();

  /// Makes the thread begin the next round now. Threads: any.
  void wake() const noexcept;
  /// Asks the thread to end in its next round. Threads: any.
  void request_stop() noexcept;

 private:
  void run(const std::stop_token& stop);

  Look look_;
  UniqueFd wake_;
  std::jthread thread_;
};

// Which events of the kernel a counter session needs, in which groups, and where.

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
struct CounterPlace;
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
