// Counter sessions.
//
// The states of a session, and what each call does to its parts:
//
//   C1  Every call holds `mutex_` from its first test to its last effect.
//   C2  A call begins with update(), which asks the kernel whether the target has ended and whether
//       an overflow came. Only then does it consult the table.
//   C3  While the session counts, the clocks and the groups of the active set are enabled; all
//       other groups are disabled.
//   C4  Only one place polls each descriptor of the kernel: the kernel reports an overflow to the
//       first poll only (perf_poll in kernel/events/core.c). If there is a switcher, it polls. The
//       wake descriptor then watches `news_`, and the code that takes an overflow writes to it.
//   C5  A session belongs to the process that made it. A child of fork() inherits its descriptors,
//       which are the same events, but neither the rings nor the switcher. In the child, no call
//       does anything, and destruction only closes the descriptors.
//   C6  A thread inherits each event that is open when it starts. If it has only a part of a group,
//       reads of that group fail with ECHILD (__perf_read_group_add in kernel/events/core.c). If
//       the thread started between two openings, they always fail; if it is ending, only for a
//       moment. So a process counts as loaded only if its threads were the same before and after,
//       and a read is repeated while a thread is ending.
//   C7  If a thread has inherited all events of another, the kernel may swap the events of both
//       instead of their counts (context_equiv in kernel/events/core.c). An event then ends with
//       the wrong thread, and the kernel adds no more members to its group. The kernel never swaps
//       the events of a thread that has an event which is not inherited. So if a member is refused,
//       the thread gets such an event (an anchor) while the group is opened once more.

#include "instruments/counters/session.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <stop_token>
#include <utility>

#include "base/fork_guard.hpp"
#include "base/unique_fd.hpp"
#include "instruments/counters/event_sets.hpp"
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/open_events.hpp"
#include "instruments/counters/sample_buffers.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

using Lock = std::unique_lock<std::mutex>;

/// How often to try to open the events of a process while its threads keep starting or ending.
constexpr int kMaxOpenings = 16;

const char* advice_for(SessionCall call, SessionState state) noexcept {
  const bool restarts = call == SessionCall::restart;
  const bool is_loaded = state == SessionState::loaded || state == SessionState::started ||
                         state == SessionState::masked;
  const bool wants_unloaded = !restarts && answer_of(call, SessionState::loaded) == Answer::busy;
  if (is_loaded && wants_unloaded) return "unload it first";
  switch (state) {
    case SessionState::unloaded: return "load it first";
    case SessionState::loaded: return "start it: no overflow has stopped it";
    case SessionState::started:
      return restarts ? "it counts: no overflow has stopped it" : "stop it first";
    case SessionState::masked: return "restart or stop it first";
    case SessionState::ended: return "the target has ended: read the counts, and unload it";
    case SessionState::closed: return "make another one";
  }
  return "";
}

}  // namespace

struct CounterSession::Impl {
  Impl(SessionOptions of, KernelCounters& kernel)
      : options(of), target(kernel), samples(kernel, of.ring_pages), open(kernel, sets, samples) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (is_forked()) {
      leave_to_parent();
    } else {
      (void)close();
    }
  }

  /// C5: in a child of the process that made it.
  bool is_forked() const noexcept { return process != 0 && !base::is_this_process(process); }
  bool counts() const noexcept { return state == SessionState::started; }
  bool is_loaded() const noexcept {
    return state != SessionState::unloaded && state != SessionState::closed;
  }
  bool has_switcher() const noexcept { return options.switch_by_itself && !sets.alone(); }
  /// Writes a debug line about the state.
  static void tell(const char* what) {
    debug(Debug::counters, [&] { return "session: " + std::string(what); });
  }
  void update();
  Result<void> check(SessionCall call);
  Result<std::uint64_t> clock_now() const;
  std::uint64_t clock_or_zero() const {
    const auto clock = clock_now();
    return clock ? *clock : 0;
  }
  std::uint64_t samples_until() const noexcept;

  Result<void> open_all(const CounterTarget& of, std::optional<VectorFault>* fault);
  Result<void> open_settled(std::optional<VectorFault>* fault);
  Result<void> open_wake();
  Result<void> add_wakers();
  Result<void> open_more(std::size_t first, std::optional<VectorFault>* fault);
  void forget_news() noexcept;
  void close_all() noexcept;
  void leave_to_parent() noexcept;
  Result<void> unload_now();
  Result<void> unload();
  Result<void> close();

  void begin_turn();
  void end_turn();
  Result<void> make_active(unsigned id);
  std::optional<int> give_turns(const std::stop_token& stop, std::vector<pollfd>& wakers);
  void end_switcher(Lock& lock);

  std::mutex mutex;
  const std::uint64_t process = base::process_token();  ///< C5; 0: there was no memory to find out
  SessionOptions options;
  SessionState state = SessionState::unloaded;
  EventSets sets;
  TargetBinding target;
  SampleBuffers samples;
  OpenEvents open;
  LostCount lost;
  UniqueFd wake;                          // while loaded
  UniqueFd news;                          // C4; while loaded, with a switcher
  std::uint64_t clock_before = 0;         // clock of earlier loads
  std::unique_ptr<SetSwitcher> switcher;  // from the first start() of a load to unload()
};

namespace {

/// Makes a call, unless the session was moved to another object or belongs to the parent process.
template <class Impl, class Call>
auto ask(const std::unique_ptr<Impl>& impl, const Call& call) -> decltype(call(*impl)) {
  if (!impl) {
    return Error(CounterErrc::bad_session, "there is no session: it was moved to another place");
  }
  if (impl->is_forked()) {
    return Error(Errc::forked,
                 "the session belongs to the process that made it, and this is its child (make "
                 "another one here)");
  }
  return call(*impl);
}

/// The same under the lock, if the table permits the call (C1, C2).
template <class Impl, class Act>
auto perform(const std::unique_ptr<Impl>& impl, SessionCall call, const Act& act)
    -> decltype(act(*impl)) {
  return ask(impl, [&](Impl& own) -> decltype(act(own)) {
    const Lock lock(own.mutex);
    if (auto may = own.check(call); !may) return std::move(may).error();
    return act(own);
  });
}

}  // namespace

// Since the last call, not only the state may have changed, but also the target.
void CounterSession::Impl::update() {
  if (!is_loaded() || state == SessionState::ended) return;
  if (target.has_ended()) {
    if (counts()) end_turn();
    state = SessionState::ended;
    return;
  }
  if (!counts()) return;
  const auto overflowed = open.take_overflow();
  if (!overflowed) return;
  if (news) (void)::eventfd_write(news.get(), 1);  // C4
  if (!sets.setup(*overflowed).sampling.mask) {
    (void)make_active(sets.next());
    return;
  }
  end_turn();
  open.disable_all();
  state = SessionState::masked;
}

/// Asks what has changed, and then the table. A thread that counts itself may also change events
/// while the session is started: the thread cannot notice that its own call is counted.
Result<void> CounterSession::Impl::check(SessionCall call) {
  update();
  const Answer answer = answer_of(call, state);
  const bool changes = call == SessionCall::program || call == SessionCall::set_values;
  const bool on_itself = counts() && !target.is_process() && target.is_own() &&
                         target.target().task.number == ::gettid();
  if (answer == Answer::ok || (changes && on_itself)) return {};
  return Error(answer == Answer::busy ? CounterErrc::busy : CounterErrc::invalid,
               std::string("cannot ") + row_of(call).name + " while the session is " +
                   name_of(state) + " (" + advice_for(call, state) + ')');
}

/// The clock over all loads.
Result<std::uint64_t> CounterSession::Impl::clock_now() const {
  const auto since = open.clock_ns();
  return since ? Result<std::uint64_t>(clock_before + *since) : since;
}

// ---- Programming ----

Result<void> CounterSession::create_sets(std::span<const SetSetup> sets) {
  return perform(impl_, SessionCall::create_set, [&](Impl& own) { return own.sets.create(sets); });
}

Result<void> CounterSession::delete_sets(std::span<const unsigned> ids) {
  return perform(impl_, SessionCall::delete_set, [&](Impl& own) { return own.sets.remove(ids); });
}

Result<void> CounterSession::query_sets(std::span<SetQuery> sets) {
  return perform(impl_, SessionCall::query_sets, [&](Impl& own) {
    const auto clock = own.clock_now();
    return own.sets.query(sets, own.counts() && clock ? std::optional(*clock) : std::nullopt);
  });
}

Result<std::size_t> CounterSession::program(std::span<const EventSetup> events,
                                            std::optional<VectorFault>* fault) {
  return perform(impl_, SessionCall::program, [&](Impl& own) -> Result<std::size_t> {
    if (own.is_loaded() && own.target.is_process()) {
      return Error(CounterErrc::busy,
                   "cannot add events while the session is loaded on a process, because its "
                   "existing children would not be counted (unload the session first)");
    }
    const auto clock = own.clock_now();
    if (!clock) return clock.error();
    auto first = own.sets.program(events, *clock);
    if (!first || !own.is_loaded()) return first;
    auto opened = check_target(own.target.target(), own.sets.any_mask());
    if (opened) opened = own.open_more(*first, fault);
    if (opened) return first;
    own.open.close_from(*first);
    own.sets.forget_from(*first);
    return std::move(opened).error();
  });
}

Result<void> CounterSession::set_values(std::span<const ValueSetup> values) {
  return perform(impl_, SessionCall::set_values, [&](Impl& own) -> Result<void> {
    if (auto right = own.sets.check(values); !right) return right;
    own.sets.want_all();
    if (auto read = own.open.read_wanted(); !read) return read;
    const auto clock = own.clock_now();
    if (!clock) return clock.error();
    // Sets the periods first, because only this can fail.
    if (auto set = own.open.set_periods(values); !set) return set;
    for (const ValueSetup& value : values) own.sets.give(value, *clock);
    return {};
  });
}

// ---- Counting ----

Result<void> CounterSession::start() {
  return perform(impl_, SessionCall::start, [](Impl& own) -> Result<void> {
    if (own.counts()) return {};
    if (!own.target.target().on_exec) {
      if (auto enabled = own.open.enable_all(); !enabled) return enabled;
    }
    own.state = SessionState::started;
    Impl::tell("counts");
    own.begin_turn();
    return {};
  });
}

Result<void> CounterSession::stop() {
  return perform(impl_, SessionCall::stop, [](Impl& own) -> Result<void> {
    own.open.disable_all();
    if (own.counts()) own.end_turn();
    own.state = SessionState::loaded;
    Impl::tell("stopped");
    own.target.forget_exec();  // from now on, start() starts at once
    return {};
  });
}

Result<void> CounterSession::restart() {
  return perform(impl_, SessionCall::restart, [](Impl& own) -> Result<void> {
    own.forget_news();
    if (auto enabled = own.open.enable_all(); !enabled) return enabled;
    own.state = SessionState::started;
    own.begin_turn();
    return {};
  });
}

Result<void> CounterSession::read(std::span<Reading> readings, bool stop_target) {
  return perform(impl_, SessionCall::read, [&](Impl& own) -> Result<void> {
    if (auto right = own.sets.check(readings); !right) return right;
    if (stop_target && !own.target.is_task()) {
      return Error(CounterErrc::invalid, "CPUs cannot be stopped for a read");
    }
    TargetBinding::Held held;
    const bool hold = stop_target && own.counts() && !own.target.is_own();
    Result<void> outcome;
    if (hold) {
      outcome = own.target.hold(held);
      own.update();  // the target may have ended, or a set's turn may be over
    }
    own.sets.want(readings);
    if (outcome) outcome = own.open.read_wanted();
    own.sets.want_none();
    const auto clock = own.clock_now();
    own.target.let_go(held);
    if (outcome && !clock) outcome = clock.error();
    if (!outcome) return outcome;
    for (Reading& reading : readings) {
      own.sets.fill(reading, *clock);
      reading.one_instant = !own.counts() || hold;
    }
    return {};
  });
}

Result<std::uint64_t> CounterSession::clock_ns() {
  return perform(impl_, SessionCall::read, [](Impl& own) { return own.clock_now(); });
}

/// The time before which all samples have reached their rings.
std::uint64_t CounterSession::Impl::samples_until() const noexcept {
  const std::chrono::nanoseconds now = std::chrono::steady_clock::now().time_since_epoch();
  return counts() ? static_cast<std::uint64_t>(now.count()) : UINT64_MAX;
}

Result<SampleCounts> CounterSession::read_samples(SampleSink& sink) {
  return perform(impl_, SessionCall::read_samples, [&](Impl& own) -> Result<SampleCounts> {
    own.forget_news();
    SampleCounts counts = own.samples.read(sink, own.sets, own.samples_until());
    own.lost.add(counts, own.open.lost_records(), own.open.samples());
    counts.lost += own.samples.lost_in_pmu() + own.samples.take_dropped();
    if (counts.lost != 0) {
      debug(Debug::counters,
            [&] { return std::to_string(counts.lost) + " samples lost: a ring was full"; });
    }
    return counts;
  });
}

// ---- Loading ----

Result<void> CounterSession::Impl::open_more(std::size_t first, std::optional<VectorFault>* fault) {
  auto opened = open.open_more(first, target, options, fault);
  if (opened) opened = add_wakers();
  if (opened && counts()) opened = open.enable_from(first);
  return opened;
}

Result<void> CounterSession::load(const CounterTarget& target, std::optional<VectorFault>* fault) {
  return perform(impl_, SessionCall::load, [&](Impl& own) -> Result<void> {
    if (auto right = check_target(target, own.sets.any_mask()); !right) return right;
    auto loaded = own.open_all(target, fault);
    if (loaded) {
      own.state = SessionState::loaded;
      Impl::tell("loaded");
    } else {
      own.close_all();
    }
    return loaded;
  });
}

Result<void> CounterSession::Impl::open_all(const CounterTarget& of,
                                            std::optional<VectorFault>* fault) {
  if (auto bound = target.bind(of); !bound) return bound;
  if (auto opened = open_settled(fault); !opened) return opened;
  // If the task has ended, another task may have got its number before the events were opened.
  if (target.has_ended()) {
    return cannot_load(ESRCH, "task " + std::to_string(target.target().task.number),
                       "it has just ended");
  }
  return open_wake();
}

/// A thread that starts while the events are being opened inherits all of them, some of them, or
/// not one. The kernel does not tell which, so the events are opened again, then for it, too (C6).
Result<void> CounterSession::Impl::open_settled(std::optional<VectorFault>* fault) {
  auto opened = open.open(target, options, fault);
  if (!target.is_process()) return opened;
  for (int left = kMaxOpenings - 1; left > 0; --left) {
    const bool more = target.list_again();
    if (open.is_whole() && (!more || !opened)) return opened;
    debug(Debug::counters,
          [&] { return "threads started while the events were opened: once more"; });
    open.close();
    if (fault != nullptr) fault->reset();
    opened = open.open(target, options, fault);
  }
  // If threads keep starting, some may not be counted. The events can be read all the same.
  if (!opened || open.is_whole()) return opened;
  return cannot_load(EAGAIN, "process " + std::to_string(target.target().task.number),
                     "its threads start faster than events can be opened (let it stand meanwhile: "
                     "kill -STOP, and then -CONT)");
}

Result<void> CounterSession::Impl::open_wake() {
  wake.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (has_switcher()) {
    news.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!news) return Error::from_errno(errno, "cannot make a wake descriptor");
  }
  return add_wakers();
}

/// Adds the descriptors that the wake descriptor watches. Existing entries remain.
Result<void> CounterSession::Impl::add_wakers() {
  bool added = static_cast<bool>(wake);
  std::vector<int> files = samples.files(!has_switcher());  // C4
  if (target.descriptor() >= 0) files.push_back(target.descriptor());
  if (news) files.push_back(news.get());
  for (const int file : files) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = file;
    added = added && (::epoll_ctl(wake.get(), EPOLL_CTL_ADD, file, &event) == 0 || errno == EEXIST);
  }
  if (!added) return Error::from_errno(errno, "cannot make a wake descriptor");
  return {};
}

/// Resets `news`: the caller has learned of all overflows so far.
void CounterSession::Impl::forget_news() noexcept {
  eventfd_t ignored = 0;
  if (news) (void)::eventfd_read(news.get(), &ignored);
}

void CounterSession::Impl::close_all() noexcept {
  wake.reset();
  news.reset();
  open.close();
  lost = {};
  target.release();
}

/// Does not lock `mutex`: at the fork, another thread of the parent may have held it.
void CounterSession::Impl::leave_to_parent() noexcept {
  (void)switcher.release();  // its thread is in the parent and cannot be joined here
  samples.forget_all();
  close_all();
}

Result<void> CounterSession::Impl::unload_now() {
  if (counts()) {
    open.disable_all();
    end_turn();
  }
  // The counts remain. A count that can no longer be read keeps its value from before this load.
  sets.want_all();
  auto read = open.read_wanted();
  const auto clock = clock_now();
  sets.keep_counts();
  if (clock) clock_before = *clock;
  state = SessionState::unloaded;
  close_all();
  return read;
}

Result<void> CounterSession::Impl::unload() {
  Lock lock(mutex);
  if (auto may = check(SessionCall::unload); !may) return may;
  end_switcher(lock);
  // Checks again, because other threads may have made calls meanwhile.
  if (auto may = check(SessionCall::unload); !may) return may;
  return unload_now();
}

Result<void> CounterSession::Impl::close() {
  Lock lock(mutex);
  if (auto may = check(SessionCall::close); !may) return may;
  end_switcher(lock);
  if (auto may = check(SessionCall::close); !may) return may;
  if (is_loaded()) (void)unload_now();
  state = SessionState::closed;
  return {};
}

// ---- The turns of event sets ----

/// Begins the turn of the active set, which is already counting.
void CounterSession::Impl::begin_turn() {
  sets.begin_turn(clock_or_zero(), EventSets::Clock::now());
  if (sets.alone() || !options.switch_by_itself) return;
  if (!switcher) {
    switcher = std::make_unique<SetSwitcher>(
        [this](const std::stop_token& stop, std::vector<pollfd>& wakers) {
          return give_turns(stop, wakers);
        });
  }
  switcher->wake();
}

void CounterSession::Impl::end_turn() {
  const auto clock = clock_now();
  sets.end_turn(clock ? std::optional(*clock) : std::nullopt);
}

Result<void> CounterSession::Impl::make_active(unsigned id) {
  const unsigned before = sets.active();
  if (counts()) {
    open.disable_set(before);
    end_turn();
    if (auto enabled = open.enable_set(id); !enabled) {
      (void)open.enable_set(before);
      begin_turn();
      return enabled;
    }
  }
  debug(Debug::counters, [&] {
    return "set " + std::to_string(before) + " has had its turn, set " + std::to_string(id) +
           " begins";
  });
  sets.choose(id);
  if (counts()) begin_turn();
  return {};
}

Result<void> CounterSession::switch_set(std::optional<unsigned> id) {
  return perform(impl_, SessionCall::switch_set, [&](Impl& own) -> Result<void> {
    if (id && !own.sets.has(*id)) {
      return Error(CounterErrc::invalid,
                   "cannot switch to event set " + std::to_string(*id) + ": it does not exist");
    }
    return own.make_active(id.value_or(own.sets.next()));
  });
}

/// One round of the switcher.
std::optional<int> CounterSession::Impl::give_turns(const std::stop_token& stop,
                                                    std::vector<pollfd>& wakers) {
  const Lock lock(mutex);
  if (stop.stop_requested()) return std::nullopt;
  update();
  const auto now = EventSets::Clock::now();
  if (counts() && sets.turn_left_ms(now) == 0) {
    // If the target has not run since the turn began, or waits for its exec, it gets a new turn.
    if (clock_or_zero() > sets.turn_began()) {
      (void)make_active(sets.next());
    } else {
      sets.extend_turn(now);
    }
  }
  if (!counts()) return -1;
  open.add_wakers(wakers);
  return sets.turn_left_ms(EventSets::Clock::now());
}

/// Unlocks while it waits. Other threads may make calls meanwhile, even start().
void CounterSession::Impl::end_switcher(Lock& lock) {
  while (switcher) {
    // Stops counting. Otherwise an overflow would begin a turn, which makes another switcher.
    if (counts()) {
      open.disable_all();
      end_turn();
      state = SessionState::loaded;
    }
    std::unique_ptr<SetSwitcher> done = std::move(switcher);
    done->request_stop();
    lock.unlock();
    done.reset();
    lock.lock();
  }
}

// ---- The rest ----

CounterSession session_over(SessionOptions options, KernelCounters& kernel) {
  return CounterSession(std::make_unique<CounterSession::Impl>(options, kernel));
}

CounterSession::CounterSession(SessionOptions options)
    : CounterSession(std::make_unique<Impl>(options, kernel_counters())) {}
CounterSession::CounterSession(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
CounterSession::CounterSession(CounterSession&& other) noexcept = default;
CounterSession& CounterSession::operator=(CounterSession&& other) noexcept = default;
CounterSession::~CounterSession() = default;

SessionState CounterSession::state() {
  if (!impl_ || impl_->is_forked()) return SessionState::closed;
  const Lock lock(impl_->mutex);
  impl_->update();
  return impl_->state;
}
int CounterSession::wake_descriptor() {
  if (!impl_ || impl_->is_forked()) return -1;
  const Lock lock(impl_->mutex);
  return impl_->wake.get();
}
Result<void> CounterSession::unload() {
  return ask(impl_, [](Impl& own) { return own.unload(); });
}
Result<void> CounterSession::close() {
  return ask(impl_, [](Impl& own) { return own.close(); });
}

}  // namespace shmif::perf
