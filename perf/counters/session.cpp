#include "perf/counters/session.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <mutex>
#include <utility>

#include "base/fork_guard.hpp"
#include "base/unique_fd.hpp"
#include "perf/counters/event_sets.hpp"
#include "perf/counters/kernel_counters.hpp"
#include "perf/counters/open_events.hpp"
#include "perf/counters/sample_buffers.hpp"
#include "perf/counters/target_binding.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
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

const char* advice_for(SessionState state) noexcept {
  switch (state) {
    case SessionState::unloaded: return "load it first";
    case SessionState::loaded: return "unload it first";
    case SessionState::started: return "stop it first";
    case SessionState::masked: return "restart or stop it first";
    case SessionState::ended: return "the target has ended: read the counts, and unload it";
    case SessionState::closed: return "make another one";
  }
  return "";
}

/// How often to try to open the events of a process while its threads keep starting or ending.
constexpr int kMaxOpenings = 16;

}  // namespace

// The states of a session, and what each call does to its parts.
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
class CounterSession::Impl {
 public:
  Impl(SessionOptions options, KernelCounters& kernel)
      : options_(options),
        target_(kernel),
        samples_(kernel, options.ring_pages),
        open_(kernel, sets_, samples_) {}
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
  bool is_forked() const noexcept { return process_ != 0 && !base::is_this_process(process_); }
  SessionState state();
  Result<void> create_sets(std::span<const SetSetup> sets);
  Result<void> delete_sets(std::span<const unsigned> ids);
  Result<void> query_sets(std::span<SetQuery> sets);
  Result<std::size_t> program(std::span<const EventSetup> events,
                              std::optional<VectorFault>* fault);
  Result<void> set_values(std::span<const ValueSetup> values);
  Result<void> load(const CounterTarget& target, std::optional<VectorFault>* fault);
  Result<void> start();
  Result<void> stop();
  Result<void> restart();
  Result<void> switch_set(std::optional<unsigned> id);
  Result<void> read(std::span<Reading> readings, bool stop_target);
  Result<std::uint64_t> clock_ns();
  int wake_descriptor();
  Result<SampleCounts> read_samples(SampleSink& sink);
  Result<void> unload();
  Result<void> close();

 private:
  using Lock = std::unique_lock<std::mutex>;

  void update();
  Result<void> check(SessionCall call);
  Result<void> check_change(SessionCall call);
  void tell(const char* what) const;
  bool counts() const noexcept { return state_ == SessionState::started; }
  bool is_loaded() const noexcept {
    return state_ != SessionState::unloaded && state_ != SessionState::closed;
  }
  Result<std::uint64_t> clock_now() const;
  std::uint64_t clock_or_zero() const {
    const auto clock = clock_now();
    return clock ? *clock : 0;
  }
  Result<void> open_all(const CounterTarget& target, std::optional<VectorFault>* fault);
  Result<void> open_settled(std::optional<VectorFault>* fault);
  Result<void> open_wake();
  Result<void> add_wakers();
  Result<void> open_more(std::size_t first, std::optional<VectorFault>* fault);
  bool has_switcher() const noexcept { return options_.switch_by_itself && !sets_.alone(); }
  void forget_news() noexcept;
  void close_all() noexcept;
  void leave_to_parent() noexcept;
  Result<void> unload_now();

  void begin_turn();
  void end_turn();
  Result<void> make_active(unsigned id);
  std::optional<int> give_turns(const std::stop_token& stop, std::vector<pollfd>& wakers);
  std::uint64_t samples_until() const noexcept;
  void end_switcher(Lock& lock);

  std::mutex mutex_;
  const std::uint64_t process_ = base::process_token();  ///< C5; 0: there was no memory to find out
  SessionOptions options_;
  SessionState state_ = SessionState::unloaded;
  EventSets sets_;
  TargetBinding target_;
  SampleBuffers samples_;
  OpenEvents open_;
  LostCount lost_;
  UniqueFd wake_;                          // while loaded
  UniqueFd news_;                          // C4; while loaded, with a switcher
  std::uint64_t clock_before_ = 0;         // clock of earlier loads
  std::unique_ptr<SetSwitcher> switcher_;  // from the first start() of a load to unload()
};

SessionState CounterSession::Impl::state() {
  const Lock lock(mutex_);
  update();
  return state_;
}

// Since the last call, not only the state may have changed, but also the target.
void CounterSession::Impl::update() {
  if (!is_loaded() || state_ == SessionState::ended) return;
  if (target_.has_ended()) {
    if (counts()) end_turn();
    state_ = SessionState::ended;
    return;
  }
  if (!counts()) return;
  const auto overflowed = open_.take_overflow();
  if (!overflowed) return;
  if (news_) (void)::eventfd_write(news_.get(), 1);  // C4
  if (!sets_.setup(*overflowed).sampling.mask) {
    (void)make_active(sets_.next());
    return;
  }
  end_turn();
  open_.disable_all();
  state_ = SessionState::masked;
}

Result<void> CounterSession::Impl::check(SessionCall call) {
  update();
  const Answer answer = answer_of(call, state_);
  if (answer == Answer::ok) return {};
  return Error(answer == Answer::busy ? CounterErrc::busy : CounterErrc::invalid,
               std::string("cannot ") + row_of(call).name + " while the session is " +
                   name_of(state_) + " (" + advice_for(state_) + ')');
}

/// Writes a debug line about the state.
void CounterSession::Impl::tell(const char* what) const {
  debug(Debug::counters, [&] { return "session: " + std::string(what); });
}

/// As check(), but a thread that counts itself may make the call while the session is started: the
/// thread cannot notice that its own call is counted.
Result<void> CounterSession::Impl::check_change(SessionCall call) {
  auto may = check(call);
  const bool on_itself = counts() && !target_.is_process() && target_.is_own() &&
                         target_.target().task.number == ::gettid();
  return on_itself ? Result<void>() : may;
}

/// The clock over all loads.
Result<std::uint64_t> CounterSession::Impl::clock_now() const {
  const auto since = open_.clock_ns();
  return since ? Result<std::uint64_t>(clock_before_ + *since) : since;
}

// ---- Programming ----

Result<void> CounterSession::Impl::create_sets(std::span<const SetSetup> sets) {
  const Lock lock(mutex_);
  auto may = check(SessionCall::create_set);
  return may ? sets_.create(sets) : may;
}

Result<void> CounterSession::Impl::delete_sets(std::span<const unsigned> ids) {
  const Lock lock(mutex_);
  auto may = check(SessionCall::delete_set);
  return may ? sets_.remove(ids) : may;
}

Result<void> CounterSession::Impl::query_sets(std::span<SetQuery> sets) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::query_sets); !may) return may;
  const auto clock = clock_now();
  return sets_.query(sets, counts() && clock ? std::optional(*clock) : std::nullopt);
}

Result<std::size_t> CounterSession::Impl::program(std::span<const EventSetup> events,
                                                  std::optional<VectorFault>* fault) {
  const Lock lock(mutex_);
  if (auto may = check_change(SessionCall::program); !may) return may.error();
  if (is_loaded() && target_.is_process()) {
    return Error(CounterErrc::busy,
                 "cannot add events while the session is loaded on a process, because its existing "
                 "children would not be counted (unload the session first)");
  }
  const auto clock = clock_now();
  if (!clock) return clock.error();
  auto first = sets_.program(events, *clock);
  if (!first || !is_loaded()) return first;
  auto opened = check_target(target_.target(), sets_.any_mask());
  if (opened) opened = open_more(*first, fault);
  if (opened) return first;
  open_.close_from(*first);
  sets_.forget_from(*first);
  return std::move(opened).error();
}

Result<void> CounterSession::Impl::open_more(std::size_t first, std::optional<VectorFault>* fault) {
  auto opened = open_.open_more(first, target_, options_, fault);
  if (opened) opened = add_wakers();
  if (opened && counts()) opened = open_.enable_from(first);
  return opened;
}

Result<void> CounterSession::Impl::set_values(std::span<const ValueSetup> values) {
  const Lock lock(mutex_);
  if (auto may = check_change(SessionCall::set_values); !may) return may;
  if (auto right = sets_.check(values); !right) return right;
  sets_.want_all();
  if (auto read = open_.read_wanted(); !read) return read;
  const auto clock = clock_now();
  if (!clock) return clock.error();
  // Sets the periods first, because only this can fail.
  if (auto set = open_.set_periods(values); !set) return set;
  for (const ValueSetup& value : values) sets_.give(value, *clock);
  return {};
}

// ---- Loading ----

Result<void> CounterSession::Impl::load(const CounterTarget& target,
                                        std::optional<VectorFault>* fault) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::load); !may) return may;
  if (auto right = check_target(target, sets_.any_mask()); !right) return right;
  auto loaded = open_all(target, fault);
  if (loaded) {
    state_ = SessionState::loaded;
    tell("loaded");
  } else {
    close_all();
  }
  return loaded;
}

Result<void> CounterSession::Impl::open_all(const CounterTarget& target,
                                            std::optional<VectorFault>* fault) {
  if (auto bound = target_.bind(target); !bound) return bound;
  if (auto opened = open_settled(fault); !opened) return opened;
  // If the task has ended, another task may have got its number before the events were opened.
  if (target_.has_ended()) {
    return cannot_load(ESRCH, "task " + std::to_string(target_.target().task.number),
                       "it has just ended");
  }
  return open_wake();
}

/// A thread that starts while the events are being opened inherits all of them, some of them, or
/// not one. The kernel does not tell which, so the events are opened again, then for it, too (C6).
Result<void> CounterSession::Impl::open_settled(std::optional<VectorFault>* fault) {
  auto opened = open_.open(target_, options_, fault);
  if (!target_.is_process()) return opened;
  for (int left = kMaxOpenings - 1; left > 0; --left) {
    const bool more = target_.list_again();
    if (open_.is_whole() && (!more || !opened)) return opened;
    debug(Debug::counters,
          [&] { return "threads started while the events were opened: once more"; });
    open_.close();
    if (fault != nullptr) fault->reset();
    opened = open_.open(target_, options_, fault);
  }
  // If threads keep starting, some may not be counted. The events can be read all the same.
  if (!opened || open_.is_whole()) return opened;
  return cannot_load(EAGAIN, "process " + std::to_string(target_.target().task.number),
                     "its threads start faster than events can be opened (let it stand meanwhile: "
                     "kill -STOP, and then -CONT)");
}

Result<void> CounterSession::Impl::open_wake() {
  wake_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (has_switcher()) {
    news_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!news_) return Error::from_errno(errno, "cannot make a wake descriptor");
  }
  return add_wakers();
}

/// Adds the descriptors that the wake descriptor watches. Existing entries remain.
Result<void> CounterSession::Impl::add_wakers() {
  bool added = static_cast<bool>(wake_);
  std::vector<int> files = samples_.files(!has_switcher());  // C4
  if (target_.descriptor() >= 0) files.push_back(target_.descriptor());
  if (news_) files.push_back(news_.get());
  for (const int file : files) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = file;
    added =
        added && (::epoll_ctl(wake_.get(), EPOLL_CTL_ADD, file, &event) == 0 || errno == EEXIST);
  }
  if (!added) return Error::from_errno(errno, "cannot make a wake descriptor");
  return {};
}

/// Resets `news_`: the caller has learned of all overflows so far.
void CounterSession::Impl::forget_news() noexcept {
  eventfd_t ignored = 0;
  if (news_) (void)::eventfd_read(news_.get(), &ignored);
}

void CounterSession::Impl::close_all() noexcept {
  wake_.reset();
  news_.reset();
  open_.close();
  lost_ = {};
  target_.release();
}

/// Does not lock `mutex_`: at the fork, another thread of the parent may have held it.
void CounterSession::Impl::leave_to_parent() noexcept {
  (void)switcher_.release();  // its thread is in the parent and cannot be joined here
  samples_.forget_all();
  close_all();
}

Result<void> CounterSession::Impl::unload_now() {
  if (counts()) {
    open_.disable_all();
    end_turn();
  }
  // The counts remain. A count that can no longer be read keeps its value from before this load.
  sets_.want_all();
  auto read = open_.read_wanted();
  const auto clock = clock_now();
  sets_.keep_counts();
  if (clock) clock_before_ = *clock;
  state_ = SessionState::unloaded;
  close_all();
  return read;
}

Result<void> CounterSession::Impl::unload() {
  Lock lock(mutex_);
  if (auto may = check(SessionCall::unload); !may) return may;
  end_switcher(lock);
  // Checks again, because other threads may have made calls meanwhile.
  if (auto may = check(SessionCall::unload); !may) return may;
  return unload_now();
}

Result<void> CounterSession::Impl::close() {
  Lock lock(mutex_);
  if (auto may = check(SessionCall::close); !may) return may;
  end_switcher(lock);
  if (auto may = check(SessionCall::close); !may) return may;
  if (is_loaded()) (void)unload_now();
  state_ = SessionState::closed;
  return {};
}

// ---- Counting ----

Result<void> CounterSession::Impl::start() {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::start); !may) return may;
  if (counts()) return {};
  if (!target_.target().on_exec) {
    if (auto enabled = open_.enable_all(); !enabled) return enabled;
  }
  state_ = SessionState::started;
  tell("counts");
  begin_turn();
  return {};
}

Result<void> CounterSession::Impl::stop() {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::stop); !may) return may;
  open_.disable_all();
  if (counts()) end_turn();
  state_ = SessionState::loaded;
  tell("stopped");
  target_.forget_exec();  // from now on, start() starts at once
  return {};
}

Result<void> CounterSession::Impl::restart() {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::restart); !may) return may;
  forget_news();
  if (auto enabled = open_.enable_all(); !enabled) return enabled;
  state_ = SessionState::started;
  begin_turn();
  return {};
}

Result<void> CounterSession::Impl::read(std::span<Reading> readings, bool stop_target) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::read); !may) return may;
  if (auto right = sets_.check(readings); !right) return right;
  if (stop_target && !target_.is_task()) {
    return Error(CounterErrc::invalid, "CPUs cannot be stopped for a read");
  }
  TargetBinding::Held held;
  const bool hold = stop_target && counts() && !target_.is_own();
  Result<void> outcome;
  if (hold) {
    outcome = target_.hold(held);
    update();  // the target may have ended, or a set's turn may be over
  }
  sets_.want(readings);
  if (outcome) outcome = open_.read_wanted();
  sets_.want_none();
  const auto clock = clock_now();
  target_.let_go(held);
  if (outcome && !clock) outcome = clock.error();
  if (!outcome) return outcome;
  for (Reading& reading : readings) {
    sets_.fill(reading, *clock);
    reading.one_instant = !counts() || hold;
  }
  return {};
}

Result<std::uint64_t> CounterSession::Impl::clock_ns() {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::read); !may) return may.error();
  return clock_now();
}

int CounterSession::Impl::wake_descriptor() {
  const Lock lock(mutex_);
  return wake_.get();
}

/// The time before which all samples have reached their rings.
std::uint64_t CounterSession::Impl::samples_until() const noexcept {
  const std::chrono::nanoseconds now = std::chrono::steady_clock::now().time_since_epoch();
  return counts() ? static_cast<std::uint64_t>(now.count()) : UINT64_MAX;
}

Result<SampleCounts> CounterSession::Impl::read_samples(SampleSink& sink) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::read_samples); !may) return may.error();
  forget_news();
  SampleCounts counts = samples_.read(sink, sets_, samples_until());
  lost_.add(counts, open_.lost_records(), open_.samples());
  counts.lost += samples_.lost_in_pmu() + samples_.take_dropped();
  if (counts.lost != 0) {
    debug(Debug::counters,
          [&] { return std::to_string(counts.lost) + " samples lost: a ring was full"; });
  }
  return counts;
}

// ---- Turns of event sets ----

/// Begins the turn of the active set, which is already counting.
void CounterSession::Impl::begin_turn() {
  sets_.begin_turn(clock_or_zero(), EventSets::Clock::now());
  if (sets_.alone() || !options_.switch_by_itself) return;
  if (!switcher_) {
    switcher_ = std::make_unique<SetSwitcher>(
        [this](const std::stop_token& stop, std::vector<pollfd>& wakers) {
          return give_turns(stop, wakers);
        });
  }
  switcher_->wake();
}

void CounterSession::Impl::end_turn() {
  const auto clock = clock_now();
  sets_.end_turn(clock ? std::optional(*clock) : std::nullopt);
}

Result<void> CounterSession::Impl::make_active(unsigned id) {
  const unsigned before = sets_.active();
  if (counts()) {
    open_.disable_set(before);
    end_turn();
    if (auto enabled = open_.enable_set(id); !enabled) {
      (void)open_.enable_set(before);
      begin_turn();
      return enabled;
    }
  }
  debug(Debug::counters, [&] {
    return "set " + std::to_string(before) + " has had its turn, set " + std::to_string(id) +
           " begins";
  });
  sets_.choose(id);
  if (counts()) begin_turn();
  return {};
}

Result<void> CounterSession::Impl::switch_set(std::optional<unsigned> id) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::switch_set); !may) return may;
  if (id && !sets_.has(*id)) {
    return Error(CounterErrc::invalid,
                 "cannot switch to event set " + std::to_string(*id) + ": it does not exist");
  }
  return make_active(id.value_or(sets_.next()));
}

/// One round of the switcher.
std::optional<int> CounterSession::Impl::give_turns(const std::stop_token& stop,
                                                    std::vector<pollfd>& wakers) {
  const Lock lock(mutex_);
  if (stop.stop_requested()) return std::nullopt;
  update();
  const auto now = EventSets::Clock::now();
  if (counts() && sets_.turn_left_ms(now) == 0) {
    // If the target has not run since the turn began, or waits for its exec, it gets a new turn.
    if (clock_or_zero() > sets_.turn_began()) {
      (void)make_active(sets_.next());
    } else {
      sets_.extend_turn(now);
    }
  }
  if (!counts()) return -1;
  open_.add_wakers(wakers);
  return sets_.turn_left_ms(EventSets::Clock::now());
}

/// Unlocks while it waits. Other threads may make calls meanwhile, even start().
void CounterSession::Impl::end_switcher(Lock& lock) {
  while (switcher_) {
    // Stops counting. Otherwise an overflow would begin a turn, which makes another switcher.
    if (counts()) {
      open_.disable_all();
      end_turn();
      state_ = SessionState::loaded;
    }
    std::unique_ptr<SetSwitcher> done = std::move(switcher_);
    done->request_stop();
    lock.unlock();
    done.reset();
    lock.lock();
  }
}

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
  return impl_ && !impl_->is_forked() ? impl_->state() : SessionState::closed;
}
Result<void> CounterSession::create_sets(std::span<const SetSetup> sets) {
  return ask(impl_, [&](Impl& own) { return own.create_sets(sets); });
}
Result<void> CounterSession::delete_sets(std::span<const unsigned> ids) {
  return ask(impl_, [&](Impl& own) { return own.delete_sets(ids); });
}
Result<void> CounterSession::query_sets(std::span<SetQuery> sets) {
  return ask(impl_, [&](Impl& own) { return own.query_sets(sets); });
}
Result<std::size_t> CounterSession::program(std::span<const EventSetup> events,
                                            std::optional<VectorFault>* fault) {
  return ask(impl_, [&](Impl& own) { return own.program(events, fault); });
}
Result<void> CounterSession::set_values(std::span<const ValueSetup> values) {
  return ask(impl_, [&](Impl& own) { return own.set_values(values); });
}
Result<void> CounterSession::load(const CounterTarget& target, std::optional<VectorFault>* fault) {
  return ask(impl_, [&](Impl& own) { return own.load(target, fault); });
}
Result<void> CounterSession::start() {
  return ask(impl_, [&](Impl& own) { return own.start(); });
}
Result<void> CounterSession::stop() {
  return ask(impl_, [&](Impl& own) { return own.stop(); });
}
Result<void> CounterSession::restart() {
  return ask(impl_, [&](Impl& own) { return own.restart(); });
}
Result<void> CounterSession::switch_set(std::optional<unsigned> id) {
  return ask(impl_, [&](Impl& own) { return own.switch_set(id); });
}
Result<void> CounterSession::read(std::span<Reading> readings, bool stop_target) {
  return ask(impl_, [&](Impl& own) { return own.read(readings, stop_target); });
}
Result<std::uint64_t> CounterSession::clock_ns() {
  return ask(impl_, [&](Impl& own) { return own.clock_ns(); });
}
int CounterSession::wake_descriptor() {
  return impl_ && !impl_->is_forked() ? impl_->wake_descriptor() : -1;
}
Result<SampleCounts> CounterSession::read_samples(SampleSink& sink) {
  return ask(impl_, [&](Impl& own) { return own.read_samples(sink); });
}
Result<void> CounterSession::unload() {
  return ask(impl_, [&](Impl& own) { return own.unload(); });
}
Result<void> CounterSession::close() {
  return ask(impl_, [&](Impl& own) { return own.close(); });
}

}  // namespace shmif::perf
