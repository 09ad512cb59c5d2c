#include "instruments/counters/open_events.hpp"

#include <sched.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <thread>

#include "base/quantity.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

/// Positions in the words that a read of a group returns.
constexpr std::size_t kCount = 0;
constexpr std::size_t kEnabled = 1;
constexpr std::size_t kRunning = 2;
constexpr std::size_t kHead = 3;
/// Words of an event that is read alone: number and losses come last, after value and times.
constexpr std::size_t kAloneWords = 5;
/// Words of each event in a group: value, number and losses.
constexpr std::size_t kMaxOfEvent = 3;
/// How often to try to read a group while the kernel cannot add up its threads. That lasts as long
/// as a thread is ending: microseconds, or longer if another process has its CPU.
constexpr int kMaxReads = 3000;
/// The same if the group can instead be opened again.
constexpr int kMaxFirstReads = 20;

std::string name_of(const CounterPlace& place) {
  std::string name = place.task < 0 ? "" : "thread " + std::to_string(place.task);
  if (place.cpu >= 0) name += (name.empty() ? "CPU " : ", CPU ") + std::to_string(place.cpu);
  return name;
}

/// Whether the kernel may return this error because a thread that inherits the group starts or
/// ends.
bool may_be_a_threads(int error) {
  return error == EINVAL || error == ENODEV || error == ESRCH;
}

Refusal refusal_of_cpu(KernelCounters& kernel, int cpu) {
  const std::string number = std::to_string(cpu);
  if (!kernel.has_cpu(cpu)) {
    return {Refusal::State::failed,
            "there is no CPU " + number + "; online are " +
                base::number_list_text(kernel.online_cpus()),
            ""};
  }
  return {Refusal::State::failed, "CPU " + number + " is offline",
          "echo 1 > /sys/devices/system/cpu/cpu" + number + "/online"};
}

/// From drop() to its end, the kernel swaps no events of the thread (C7).
class Anchor {
 public:
  explicit Anchor(KernelCounters& kernel) : kernel_(kernel) {}
  ~Anchor() {
    if (file_ >= 0) kernel_.close(file_);
  }
  Anchor(const Anchor&) = delete;
  Anchor& operator=(const Anchor&) = delete;

  /// Gives the thread the anchor. Result: false if it has one already, or the kernel refuses.
  bool drop(pid_t thread) {
    if (file_ >= 0) return false;
    file_ = kernel_.open(attr_of_anchor(), thread, -1, -1);
    return file_ >= 0;
  }

 private:
  KernelCounters& kernel_;
  int file_ = -1;
};

}  // namespace

// ---- Opening ----

Result<void> OpenEvents::open(const TargetBinding& target, const SessionOptions& options,
                              std::optional<VectorFault>* fault) {
  samples_.order(target.is_spread());
  refused_member_ = false;
  if (auto clocks = open_clocks(target); !clocks) return clocks;
  return open_more(0, target, options, fault);
}

Result<void> OpenEvents::open_more(std::size_t first, const TargetBinding& target,
                                   const SessionOptions& options,
                                   std::optional<VectorFault>* fault) {
  const std::vector<int> online = kernel_.online_cpus();
  for (const GroupPlan& plan : plan_groups(sets_, options.group, first)) {
    // Must come first: after an error, is_whole() also reads the groups that were opened before it.
    words_.resize(std::max(words_.size(), kHead + kMaxOfEvent * plan.events.size()));
    for (const CounterPlace& place : places_of(plan, target, online)) {
      if (auto opened = open_group(plan, place, target, options.ring_pages, fault); !opened) {
        return opened;
      }
    }
  }
  return {};
}

Result<void> OpenEvents::open_clocks(const TargetBinding& target) {
  std::vector<CounterPlace> places;
  places.reserve(target.threads().size() + target.target().cpus.size());
  for (const pid_t thread : target.threads()) places.push_back({thread, -1});
  for (const int cpu : target.target().cpus) places.push_back({-1, cpu});
  for (const CounterPlace& place : places) {
    const int file = kernel_.open(attr_of_clock(target), place.task, place.cpu, -1);
    // A thread of the process may have ended since the list was made.
    if (file == -ESRCH && target.threads().size() > 1) continue;
    if (file < 0) {
      const bool denied = file == -EACCES || file == -EPERM;
      const auto owner = place.task > 0 ? kernel_.other_owner(place.task) : std::nullopt;
      const Refusal refusal = is_of_cpu(-file, place.cpu) ? refusal_of_cpu(kernel_, place.cpu)
                              : owner && denied
                                  ? foreign_refusal(*owner)
                                  : explain_refusal(-file, {}, {.whole_cpu = place.task < 0});
      return cannot_load(-file, name_of(place), refusal.reason);
    }
    clocks_.push_back(file);
  }
  return {};
}

Result<void> OpenEvents::open_group(const GroupPlan& plan, CounterPlace place,
                                    const TargetBinding& target, std::uint32_t ring_pages,
                                    std::optional<VectorFault>* fault) {
  Group& group = groups_.emplace_back();
  group.set = plan.set;
  group.place = place;
  group.sampled = plan.sampled;
  group.limited = !target.is_process() || place.task < 0;
  Anchor anchor(kernel_);
  while (group.members.size() < plan.events.size()) {
    const std::size_t number = plan.events[group.members.size()];
    const int file = open_event(group, plan, number, target, ring_pages);
    if (file < 0 && may_be_left_out(-file, group, target)) {
      debug(Debug::counters, [&] { return name_of(place) + " is gone: nothing to count there"; });
      close_members(group);
      groups_.pop_back();
      return {};
    }
    if (file < 0 && may_have_moved(-file, group, target) && anchor.drop(place.task)) {
      debug(Debug::counters, [&] { return name_of(place) + ": its group is opened once more"; });
      close_members(group);
      continue;
    }
    if (file < 0) {
      refused_member_ = !group.members.empty() && may_be_a_threads(-file);
      const Refusal refusal = refusal_of(-file, number, place, target);
      if (fault != nullptr) *fault = VectorFault{number, -file, refusal};
      return cannot_load(
          -file,
          name_of(place) + ": element " + std::to_string(number) + ", " + sets_.name_of(number),
          refusal.reason);
    }
    Member& member = group.members.emplace_back(Member{number, file});
    const int got =
        kernel_.control(file, PERF_EVENT_IOC_ID, reinterpret_cast<std::uintptr_t>(&member.id));
    if (got < 0) return cannot_load(-got, name_of(place));
    if (!sets_.setup(number).sampling.on()) continue;
    samples_.know(member.id, number);
    if (auto ring = open_ring(group, member); !ring) return ring;
  }
  debug(Debug::counters, [&] {
    std::string names;
    for (const Member& each : group.members) {
      names += (names.empty() ? "" : ", ") + sets_.name_of(each.event);
    }
    return "set " + std::to_string(group.set) + " on " + name_of(place) + ": " + names;
  });
  return {};
}

/// Result: the descriptor, or a negative errno.
int OpenEvents::open_event(Group& group, const GroupPlan& plan, std::size_t number,
                           const TargetBinding& target, std::uint32_t ring_pages) {
  const bool leader = group.members.empty();
  if (leader) group.lost = lost_records_of(plan, tells_lost_);
  const int of_group = leader ? -1 : group.leader();
  const auto ask = [&] {
    return kernel_.open(
        attr_of(sets_, number, target, {leader, group.lost, ring_pages, plan.sampled}),
        group.place.task, group.place.cpu, of_group);
  };
  const int file = ask();
  if (file != -EINVAL || !leader || !group.lost.told) return file;
  // Kernels before Linux 6.0 refuse kFormatLost with EINVAL. If that was not the cause, the second
  // attempt fails in the same way.
  group.lost = {};
  const int second = ask();
  if (second >= 0) {
    tells_lost_ = false;
    debug(Debug::counters, [] { return "the kernel does not count lost samples"; });
  }
  return second;
}

/// Whether an error only means that nothing can be counted at this place: the thread of the process
/// has ended since it was listed, or the CPU to sample it on has gone offline.
bool OpenEvents::may_be_left_out(int error, const Group& group, const TargetBinding& target) const {
  if (group.place.task < 0) return false;
  const bool has_others = target.threads().size() > 1;
  if (!group.members.empty()) {
    return has_others && may_be_a_threads(error) && has_ended(group.place.task, target);
  }
  return (error == ESRCH && has_others) || (error == ENODEV && is_offline(group.place.cpu));
}

/// Whether an error may mean that the first events of the group are no longer with its thread (C7).
bool OpenEvents::may_have_moved(int error, const Group& group, const TargetBinding& target) {
  return target.is_process() && !group.members.empty() && may_be_a_threads(error);
}

/// Whether the kernel opens no more events on this thread. If a thread ends while its group is
/// being opened, the refusal does not tell that: it is also ENODEV or EINVAL, about the leader.
bool OpenEvents::has_ended(pid_t thread, const TargetBinding& target) const {
  const int file = kernel_.open(attr_of_clock(target), thread, -1, -1);
  if (file >= 0) kernel_.close(file);
  return file == -ESRCH;
}

bool OpenEvents::is_offline(int cpu) const {
  if (cpu < 0) return false;
  const std::vector<int> online = kernel_.online_cpus();
  return !online.empty() && std::ranges::find(online, cpu) == online.end();
}

/// Whether the kernel refused because the CPU is offline, or does not exist (EINVAL).
bool OpenEvents::is_of_cpu(int error, int cpu) const {
  return (error == ENODEV || error == EINVAL) && is_offline(cpu);
}

/// Whether the kernel would permit the event if it is counted in user space only.
bool OpenEvents::permitted_in_user_space(std::size_t number, CounterPlace place,
                                         const TargetBinding& target) const {
  const CounterEvent& event = sets_.setup(number).event;
  if (event.exclude_kernel || event.exclude_user || !happens_in_user_space(event)) return false;
  EventAttr attr = attr_of(sets_, number, target, {.leader = true});
  attr.base.exclude_kernel = 1;
  attr.base.exclude_hv = 1;
  const int file = kernel_.open(attr, place.task, place.cpu, -1);
  if (file >= 0) kernel_.close(file);
  return file >= 0;
}

Refusal OpenEvents::refusal_of(int error, std::size_t number, CounterPlace place,
                               const TargetBinding& target) const {
  if (is_of_cpu(error, place.cpu)) return refusal_of_cpu(kernel_, place.cpu);
  const bool denied = error == EACCES || error == EPERM;
  if (const auto owner =
          denied && place.task > 0 ? kernel_.other_owner(place.task) : std::nullopt) {
    return foreign_refusal(*owner);
  }
  return explain_refusal(error, sets_.setup(number).event,
                         {.in_user_space = denied && permitted_in_user_space(number, place, target),
                          .whole_cpu = place.task < 0});
}

Result<void> OpenEvents::open_ring(Group& group, const Member& member) {
  if (!is_trigger(sets_.setup(member.event).sampling)) {
    return samples_.share(group.place, member.file);
  }
  const auto ring = samples_.make(group.place, member.file, SampleBuffers::Use::own);
  if (!ring) return ring.error();
  group.trigger_ring = *ring;
  return {};
}

bool OpenEvents::is_whole() {
  if (refused_member_) return false;
  return std::ranges::all_of(groups_, [&](const Group& group) {
    const std::size_t bytes = words_.size() * sizeof(std::uint64_t);
    return group.members.size() < 2 || read_file(group, bytes, kMaxFirstReads) != -ECHILD;
  });
}

void OpenEvents::close_group(const Group& group) noexcept {
  // Closes the leader last: without a leader, each of the others would count on its own.
  for (auto member = group.members.rbegin(); member != group.members.rend(); ++member) {
    kernel_.close(member->file);
  }
}

void OpenEvents::close_members(Group& group) noexcept {
  for (const Member& member : group.members) samples_.forget(member.file, member.id);
  close_group(group);
  group.members.clear();
}

void OpenEvents::close_from(std::size_t first) noexcept {
  // These groups were opened last, so they are at the end.
  while (!groups_.empty() &&
         (groups_.back().members.empty() || groups_.back().members.front().event >= first)) {
    close_members(groups_.back());
    groups_.pop_back();
  }
}

void OpenEvents::close() noexcept {
  samples_.close();
  for (const Group& group : groups_) close_group(group);
  groups_.clear();
  for (const int clock : clocks_) kernel_.close(clock);
  clocks_.clear();
}

// ---- Counting ----

/// Lets a group count. If possible, the kernel itself stops a group with a trigger at one overflow.
Result<void> OpenEvents::let_go(Group& group) {
  const bool refresh = group.trigger_ring && group.limited && group.exhausted;
  // If the ring were full, the overflow would not be seen.
  if (group.trigger_ring) samples_.make_room(*group.trigger_ring);
  // Must be read before the group counts: its next overflow can come at once.
  const std::uint64_t seen = group.trigger_ring ? samples_.head(*group.trigger_ring) : 0;
  const int got = kernel_.control(
      group.leader(), refresh ? PERF_EVENT_IOC_REFRESH : PERF_EVENT_IOC_ENABLE, refresh ? 1 : 0);
  if (got < 0) {
    return Error::from_errno(-got, "cannot start " + sets_.name_of(group.members.front().event));
  }
  if (group.trigger_ring && (refresh || !group.limited)) {
    group.trigger_seen = seen;
    group.exhausted = false;
  }
  return {};
}

Result<void> OpenEvents::enable_from(std::size_t first) {
  for (Group& group : groups_) {
    if (group.set != sets_.active() || group.members.front().event < first) continue;
    if (auto let = let_go(group); !let) return let;
  }
  return {};
}

Result<void> OpenEvents::enable_set(unsigned id) {
  for (Group& group : groups_) {
    if (group.set != id) continue;
    auto let = let_go(group);
    if (let) continue;
    disable_set(id);
    return let;
  }
  return {};
}

void OpenEvents::disable_set(unsigned id) noexcept {
  for (const Group& group : groups_) {
    if (group.set == id) (void)kernel_.control(group.leader(), PERF_EVENT_IOC_DISABLE, 0);
  }
}

Result<void> OpenEvents::enable_all() {
  for (const int clock : clocks_) {
    const int got = kernel_.control(clock, PERF_EVENT_IOC_ENABLE, 0);
    if (got >= 0) continue;
    disable_all();
    return Error::from_errno(-got, "cannot start the session's clock");
  }
  auto enabled = enable_set(sets_.active());
  if (!enabled) disable_all();
  return enabled;
}

void OpenEvents::disable_all() noexcept {
  disable_set(sets_.active());
  for (const int clock : clocks_) (void)kernel_.control(clock, PERF_EVENT_IOC_DISABLE, 0);
}

std::optional<std::size_t> OpenEvents::take_overflow() noexcept {
  std::optional<std::size_t> event;
  for (Group& group : groups_) {  // each CPU may have had an overflow
    if (group.set != sets_.active() || !group.trigger_ring) continue;
    if (samples_.head(*group.trigger_ring) == group.trigger_seen) continue;
    group.exhausted = true;
    if (!event) event = group.members.front().event;
  }
  return event;
}

void OpenEvents::add_wakers(std::vector<pollfd>& wakers) const {
  for (const Group& group : groups_) {
    if (group.set != sets_.active() || !group.trigger_ring) continue;
    wakers.push_back({group.leader(), POLLIN, 0});
  }
}

// ---- Reading ----

ssize_t OpenEvents::read_file(const Group& group, std::size_t bytes, int tries) {
  ssize_t got = kernel_.read(group.leader(), words_.data(), bytes);
  // Linux returns ECHILD while a thread does not have the same events as the group (C6).
  for (int more = tries - 1; got == -ECHILD && more > 0; --more) {
    // The thread that is ending may be on another CPU, so yielding is not always enough.
    if (tries - more <= kMaxFirstReads) {
      ::sched_yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    got = kernel_.read(group.leader(), words_.data(), bytes);
  }
  return got;
}

/// Reads into `words_`. An event that is read alone gets the layout of a group of one.
Result<void> OpenEvents::read_words(const Group& group) {
  const std::size_t of_event = group.lost.told ? kMaxOfEvent : kMaxOfEvent - 1;
  const std::size_t words =
      group.lost.alone ? kAloneWords : kHead + of_event * group.members.size();
  const std::size_t bytes = words * sizeof(std::uint64_t);
  const ssize_t got = read_file(group, bytes, kMaxReads);
  const auto name = [&] { return "cannot read " + sets_.name_of(group.members.front().event); };
  if (got < 0) {
    return Error::from_errno(
        static_cast<int>(-got), name(),
        got == -ECHILD ? "threads of the target end too fast; read again" : "");
  }
  const bool whole = static_cast<std::size_t>(got) == bytes;
  if (whole && group.lost.alone) {
    const std::array<std::uint64_t, kHead + kMaxOfEvent> as_group = {
        1, words_[1], words_[2], words_[0], words_[3], words_[4]};
    std::ranges::copy(as_group, words_.begin());
    return {};
  }
  if (whole && words_[kCount] == group.members.size()) return {};
  return Error::from_errno(
      EIO, name(), "the kernel gave " + std::to_string(got) + " bytes of " + std::to_string(bytes));
}

Result<void> OpenEvents::read_group(Group& group) {
  if (auto read = read_words(group); !read) return read;
  const std::size_t of_event = group.lost.told ? kMaxOfEvent : kMaxOfEvent - 1;
  for (std::size_t at = 0; at < group.members.size(); ++at) {
    const std::uint64_t* const words = &words_[kHead + of_event * at];
    const auto member = std::ranges::find(group.members, words[1], &Member::id);
    if (member == group.members.end()) {
      return Error::from_errno(EIO, "cannot read " + sets_.name_of(group.members.front().event),
                               "the kernel gave the value of another event");
    }
    sets_.events()[member->event]->now += {words[0], words_[kEnabled], words_[kRunning]};
    if (group.lost.told) member->lost = std::max(member->lost, words[2]);
  }
  return {};
}

bool OpenEvents::samples() const noexcept {
  return std::ranges::any_of(groups_, &Group::sampled);
}

std::optional<std::uint64_t> OpenEvents::lost_records() {
  std::optional<std::uint64_t> sum;
  for (Group& group : groups_) {
    if (!group.sampled) continue;
    if (!group.lost.told) return std::nullopt;
    // If a group cannot be read, its last known number is used.
    (void)read_group(group);
    for (const Member& member : group.members) sum = sum.value_or(0) + member.lost;
  }
  return sum;
}

Result<void> OpenEvents::read_wanted() {
  for (auto& event : sets_.events()) {
    if (event) event->now = {};
  }
  Result<void> outcome;
  for (Group& group : groups_) {
    const bool wanted = std::ranges::any_of(
        group.members, [&](const Member& member) { return sets_.events()[member.event]->wanted; });
    if (!wanted || !outcome) continue;
    outcome = read_group(group);
  }
  sets_.want_none();
  return outcome;
}

Result<std::uint64_t> OpenEvents::clock_ns() const {
  std::uint64_t sum = 0;
  for (const int clock : clocks_) {
    std::array<std::uint64_t, kHead> words{};
    const ssize_t got = kernel_.read(clock, words.data(), sizeof words);
    if (got != sizeof words) {
      return Error::from_errno(got < 0 ? static_cast<int>(-got) : EIO,
                               "cannot read the session's clock");
    }
    sum += words[kEnabled];
  }
  return sum;
}

/// Result: 0, or a negative errno.
int OpenEvents::set_period(std::size_t event, std::uint64_t period) {
  for (const Group& group : groups_) {
    for (const Member& member : group.members) {
      if (member.event != event) continue;
      const int got = kernel_.control(member.file, PERF_EVENT_IOC_PERIOD,
                                      reinterpret_cast<std::uintptr_t>(&period));
      if (got < 0) return got;
    }
  }
  return 0;
}

Result<void> OpenEvents::set_periods(std::span<const ValueSetup> values) {
  for (std::size_t at = 0; at < values.size(); ++at) {
    const ValueSetup& value = values[at];
    const int got = value.period ? set_period(value.event, *value.period) : 0;
    if (got >= 0) continue;
    for (const ValueSetup& before : values.first(at + 1)) {
      if (before.period) (void)set_period(before.event, sets_.setup(before.event).sampling.period);
    }
    return Error::from_errno(-got, "element " + std::to_string(at) + ": cannot set the period of " +
                                       sets_.name_of(value.event));
  }
  return {};
}

}  // namespace shmif::perf
