#include "instruments/counters/session.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <utility>

#include "instruments/counters/session_impl.hpp"
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
                   name_of(state_) + " (" + advice_for(call, state_) + ')');
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
