// Loading a session: which events of the kernel it needs, and where.

#include <linux/perf_event.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "perf/counters/session_impl.hpp"

namespace shmif::perf {
namespace {

/// For events that the kernel counts by itself: they join any group.
constexpr std::uint32_t kAnyUnit = ~std::uint32_t{0};

std::uint32_t unit_of(const CounterEvent& event) noexcept {
  switch (event.type) {
    case PERF_TYPE_SOFTWARE:
    case PERF_TYPE_TRACEPOINT: return kAnyUnit;
    case PERF_TYPE_HW_CACHE:
    case PERF_TYPE_RAW: return PERF_TYPE_HARDWARE;
    default: return event.type;
  }
}

Error cannot_load(int number, const std::string& what, const std::string& advice = {}) {
  return Error::from_errno(number, "cannot load the session on " + what, advice);
}

std::string name_of(const CounterPlace& place) {
  std::string name = place.task < 0 ? "" : "thread " + std::to_string(place.task);
  if (place.cpu >= 0) name += (name.empty() ? "CPU " : ", CPU ") + std::to_string(place.cpu);
  return name;
}

}  // namespace

/// The task must be the one that was meant, before its number is used and after.
Result<void> CounterSession::Impl::find_task(const CounterTarget& target) {
  target_ = target;
  threads_.clear();
  task_file_ = -1;
  own_ = false;
  if (target.kind == CounterTarget::Kind::cpu) return {};
  const bool thread = target.kind == CounterTarget::Kind::thread;
  if (target_.task.number == 0) {
    target_.task.number = thread ? static_cast<pid_t>(::syscall(SYS_gettid)) : ::getpid();
  }
  const pid_t number = target_.task.number;
  own_ = thread ? number == ::syscall(SYS_gettid) : number == ::getpid();
  const std::string name = (thread ? "thread " : "process ") + std::to_string(number);
  const int file = kernel_.open_task(number, thread);
  if (file < 0 && file != -EINVAL && file != -ENOSYS) return cannot_load(-file, name);
  task_file_ = file < 0 ? -1 : file;
  if (target.task.start_ticks != 0 && kernel_.start_ticks(number) != target.task.start_ticks) {
    return cannot_load(ESRCH, name, "its number is another one's now");
  }
  if (thread) {
    threads_ = {number};
  } else {
    threads_ = kernel_.threads(number);
  }
  if (threads_.empty()) return cannot_load(ESRCH, name);
  return {};
}

std::vector<CounterSession::Impl::Plan> CounterSession::Impl::plans() const {
  std::vector<Plan> plans;
  const auto add = [&](std::size_t number, bool trigger) {
    const EventSetup& setup = events_[number]->setup;
    const std::uint32_t unit = unit_of(setup.event);
    const auto joins = [&](const Plan& plan) {
      const bool one_unit = plan.unit == unit || plan.unit == kAnyUnit || unit == kAnyUnit;
      return plan.set == setup.set && plan.cpus == setup.event.cpus && one_unit;
    };
    const auto found =
        options_.group && !trigger ? std::ranges::find_if(plans, joins) : plans.end();
    Plan& plan = found != plans.end()
                     ? *found
                     : plans.emplace_back(Plan{setup.set, {}, setup.event.cpus, unit});
    plan.events.push_back(number);
    plan.sampled = plan.sampled || setup.sampling.on();
    if (plan.unit == kAnyUnit) plan.unit = unit;
  };
  // What stops its group at an overflow leads it.
  for (const bool triggers : {true, false}) {
    for (std::size_t at = 0; at < events_.size(); ++at) {
      if (!events_[at]) continue;
      const Sampling& sampling = events_[at]->setup.sampling;
      if ((sampling.mask || sampling.switch_set) == triggers) add(at, triggers);
    }
  }
  return plans;
}

std::vector<CounterPlace> CounterSession::Impl::places_of(const Plan& plan) const {
  std::vector<CounterPlace> places;
  if (!plan.cpus.empty()) {
    for (const int cpu : plan.cpus) {
      const bool ours = target_.kind != CounterTarget::Kind::cpu ||
                        std::ranges::find(target_.cpus, cpu) != target_.cpus.end();
      if (ours) places.push_back({-1, cpu});
    }
    return places;
  }
  if (target_.kind == CounterTarget::Kind::cpu) {
    for (const int cpu : target_.cpus) places.push_back({-1, cpu});
    return places;
  }
  // The kernel gives no ring to events that children inherit, except for one CPU each.
  const bool by_cpu = plan.sampled && target_.kind == CounterTarget::Kind::process;
  const std::vector<int> cpus = by_cpu ? kernel_.online_cpus() : std::vector<int>{-1};
  for (const pid_t thread : threads_) {
    for (const int cpu : cpus) places.push_back({thread, cpu});
  }
  return places;
}

EventAttr CounterSession::Impl::attr_of(const Event& event, bool leader, bool active,
                                        CounterPlace place) const {
  const CounterEvent& what = event.setup.event;
  const Sampling& sampling = event.setup.sampling;
  EventAttr attr;
  perf_event_attr& base = attr.base;
  base.type = what.type;
  base.config = what.config;
  base.config1 = what.config1;
  base.config2 = what.config2;
  attr.config3 = what.config3;
  base.exclude_user = what.exclude_user;
  base.exclude_kernel = what.exclude_kernel;
  base.exclude_hv = what.exclude_hypervisor;
  base.exclude_host = what.exclude_host;
  base.exclude_guest = what.exclude_guest;
  base.precise_ip = what.precise & 3U;
  base.disabled = leader;
  base.enable_on_exec = leader && active && target_.on_exec;
  base.inherit = place.task >= 0 && target_.kind == CounterTarget::Kind::process;
  base.read_format = PERF_FORMAT_GROUP | PERF_FORMAT_ID | PERF_FORMAT_TOTAL_TIME_ENABLED |
                     PERF_FORMAT_TOTAL_TIME_RUNNING;
  if (!sampling.on()) return attr;
  base.sample_type = sample_fields(sampling);
  base.freq = sampling.frequency != 0;
  base.sample_period = base.freq != 0 ? sampling.frequency : sampling.period;
  base.use_clockid = 1;
  base.clockid = CLOCK_MONOTONIC;
  const bool trigger = sampling.mask || sampling.switch_set;
  if (trigger) {
    base.wakeup_events = 1;
    return attr;
  }
  constexpr std::uint32_t kQuarter = 4;
  base.watermark = 1;
  base.wakeup_watermark = static_cast<__u32>(options_.ring_pages *
                                             static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))) /
                          kQuarter;
  const bool first = std::ranges::find_if(events_, [](const auto& other) {
                       return other && other->setup.sampling.on();
                     })->operator->() == &event;
  base.mmap = first;
  base.mmap2 = first;
  base.comm = first;
  base.comm_exec = first;
  base.task = first;
  return attr;
}

/// Counts nothing, but has the times of an event that counts all the time.
Result<void> CounterSession::Impl::open_clocks() {
  std::vector<CounterPlace> places;
  places.reserve(threads_.size() + target_.cpus.size());
  for (const pid_t thread : threads_) places.push_back({thread, -1});
  for (const int cpu : target_.cpus) places.push_back({-1, cpu});
  for (const CounterPlace& place : places) {
    EventAttr attr;
    attr.base.type = PERF_TYPE_SOFTWARE;
    attr.base.config = PERF_COUNT_SW_DUMMY;
    attr.base.exclude_kernel = 1;
    attr.base.exclude_hv = 1;
    attr.base.disabled = 1;
    attr.base.enable_on_exec = target_.on_exec;
    attr.base.inherit = target_.kind == CounterTarget::Kind::process;
    attr.base.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
    const int file = kernel_.open(attr, place.task, place.cpu, -1);
    // Threads of a process may end while it is loaded.
    if (file == -ESRCH && threads_.size() > 1) continue;
    if (file < 0) {
      const Refusal refusal = explain_refusal(-file, {});
      return cannot_load(-file, name_of(place), refusal.reason);
    }
    clocks_.push_back(file);
  }
  return {};
}

Result<void> CounterSession::Impl::open_ring(const Event& event, const Member& member,
                                             Group& group) {
  const Sampling& sampling = event.setup.sampling;
  const bool trigger = sampling.mask || sampling.switch_set;
  const auto fits = [&](const Ring& ring) {
    const bool same =
        group.place.cpu >= 0 ? ring.place.cpu == group.place.cpu : ring.place == group.place;
    return ring.shared && same;
  };
  const auto found = trigger ? rings_.end() : std::ranges::find_if(rings_, fits);
  if (found != rings_.end()) {
    const int got = kernel_.control(member.file, PERF_EVENT_IOC_SET_OUTPUT,
                                    static_cast<std::uintptr_t>(found->file));
    if (got < 0) return Error::from_errno(-got, "cannot share a ring for samples");
    return {};
  }
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t bytes = page * options_.ring_pages;
  void* memory = nullptr;
  const int got = kernel_.map(member.file, page + bytes, &memory);
  if (got < 0) {
    return Error::from_errno(-got,
                             "cannot map a ring of " + std::to_string(bytes) + " bytes for samples",
                             "take a smaller ring, or raise kernel.perf_event_mlock_kb");
  }
  rings_.push_back(
      {group.place, member.file, memory, page + bytes, SampleRing(memory, page, bytes), !trigger});
  if (trigger) group.trigger_ring = rings_.size() - 1;
  return {};
}

Result<void> CounterSession::Impl::open_group(const Plan& plan, CounterPlace place,
                                              std::optional<VectorFault>* fault) {
  groups_.push_back({plan.set, place});
  Group& group = groups_.back();
  for (const std::size_t number : plan.events) {
    const Event& event = *events_[number];
    const bool leader = group.members.empty();
    const EventAttr attr = attr_of(event, leader, plan.set == active_, place);
    const int file = kernel_.open(attr, place.task, place.cpu, leader ? -1 : group.leader());
    if (file == -ESRCH && leader && threads_.size() > 1) {
      groups_.pop_back();  // this thread has ended
      return {};
    }
    if (file < 0) {
      if (fault != nullptr) *fault = VectorFault{number, -file};
      const Refusal refusal = explain_refusal(-file, event.setup.event);
      return cannot_load(
          -file, name_of(place) + ": element " + std::to_string(number) + ", " + event_name(number),
          refusal.reason);
    }
    Member& member = group.members.emplace_back(Member{number, file});
    const int got =
        kernel_.control(file, PERF_EVENT_IOC_ID, reinterpret_cast<std::uintptr_t>(&member.id));
    if (got < 0) return cannot_load(-got, name_of(place));
    event_of_id_[member.id] = number;
    if (!event.setup.sampling.on()) continue;
    if (auto ring = open_ring(event, member, group); !ring) return ring;
  }
  return {};
}

Result<void> CounterSession::Impl::open_all(std::optional<VectorFault>* fault) {
  if (auto clocks = open_clocks(); !clocks) return clocks;
  std::size_t words = 0;
  for (const Plan& plan : plans()) {
    constexpr std::size_t kHead = 3;  // number of values, enabled, running
    words = std::max(words, kHead + 2 * plan.events.size());
    for (const CounterPlace& place : places_of(plan)) {
      if (auto opened = open_group(plan, place, fault); !opened) return opened;
    }
  }
  words_.resize(words);
  // Had the task ended before, its number could have been another one's when it was used.
  if (!own_ && target_.kind != CounterTarget::Kind::cpu &&
      kernel_.has_ended(task_file_, target_.task.number)) {
    return cannot_load(ESRCH, "task " + std::to_string(target_.task.number), "it has just ended");
  }
  return open_wake();
}

Result<void> CounterSession::Impl::open_wake() {
  wake_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!wake_) return Error::from_errno(errno, "cannot make a wake descriptor");
  const auto add = [&](int file) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = file;
    return ::epoll_ctl(wake_.get(), EPOLL_CTL_ADD, file, &event) == 0;
  };
  bool added = task_file_ < 0 || own_ || add(task_file_);
  for (const Ring& ring : rings_) added = added && add(ring.file);
  if (!added) return Error::from_errno(errno, "cannot make a wake descriptor");
  return {};
}

Result<void> CounterSession::Impl::load(const CounterTarget& target,
                                        std::optional<VectorFault>* fault) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::load); !may) return may;
  if (target.kind == CounterTarget::Kind::cpu && (target.cpus.empty() || target.on_exec)) {
    return Error(CounterErrc::invalid, target.cpus.empty()
                                           ? "cannot load the session on CPUs: none is named"
                                           : "CPUs execute no program that could be waited for");
  }
  const bool trigger = std::ranges::any_of(events_, [](const auto& event) {
    return event && (event->setup.sampling.mask || event->setup.sampling.switch_set);
  });
  const bool single = target.kind == CounterTarget::Kind::thread ||
                      (target.kind == CounterTarget::Kind::cpu && target.cpus.size() == 1);
  if (trigger && (!single || target.on_exec)) {
    return Error(CounterErrc::invalid,
                 "an event that masks the session or switches sets at its overflow needs one "
                 "thread or one CPU as its target, and a start that is not left to an exec");
  }
  auto loaded = find_task(target);
  if (loaded) loaded = open_all(fault);
  if (!loaded) {
    close_all();
    return loaded;
  }
  state_ = SessionState::loaded;
  return {};
}

void CounterSession::Impl::close_all() noexcept {
  wake_.reset();
  for (const Ring& ring : rings_) kernel_.unmap(ring.memory, ring.bytes);
  rings_.clear();
  for (const Group& group : groups_) {
    // A leader goes last: without it, the others would count for themselves.
    for (auto member = group.members.rbegin(); member != group.members.rend(); ++member) {
      kernel_.close(member->file);
    }
  }
  groups_.clear();
  event_of_id_.clear();
  for (const int clock : clocks_) kernel_.close(clock);
  clocks_.clear();
  if (task_file_ >= 0) kernel_.close(task_file_);
  task_file_ = -1;
  threads_.clear();
  target_ = {};
}

}  // namespace shmif::perf
