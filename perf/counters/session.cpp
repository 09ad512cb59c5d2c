#include "perf/counters/session.hpp"

#include <sys/ioctl.h>

#include <utility>

#include "perf/counters/session_impl.hpp"

namespace shmif::perf {
namespace {

Error no_session() {
  return {CounterErrc::bad_session, "there is no session: it was moved to another place"};
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

}  // namespace

CounterSession::Impl::Impl(SessionOptions options, KernelCounters& kernel)
    : options_(options), kernel_(kernel) {}

CounterSession::Impl::~Impl() {
  (void)close();
}

SessionState CounterSession::Impl::state() {
  const Lock lock(mutex_);
  update();
  return state_;
}

// Not only the state can have changed since the last call, the target can, too.
void CounterSession::Impl::update() {
  const bool alive = state_ == SessionState::loaded || state_ == SessionState::started ||
                     state_ == SessionState::masked;
  if (!alive) return;
  if (!own_ && target_.kind != CounterTarget::Kind::cpu &&
      kernel_.has_ended(task_file_, target_.task.number)) {
    if (counts()) end_activation();
    state_ = SessionState::ended;
    return;
  }
  if (!counts()) return;
  for (Group& group : groups_) {
    if (group.set != active_ || !group.trigger_ring) continue;
    if (rings_[*group.trigger_ring].ring.head() == group.trigger_seen) continue;
    group.exhausted = true;
    if (!events_[group.members.front().event]->setup.sampling.mask) {
      (void)make_active(set_after(active_));
      return;
    }
    end_activation();
    disable_all();
    state_ = SessionState::masked;
    return;
  }
}

Result<void> CounterSession::Impl::check(SessionCall call) {
  update();
  const Answer answer = answer_of(call, state_);
  if (answer == Answer::ok) return {};
  return Error(answer == Answer::busy ? CounterErrc::busy : CounterErrc::invalid,
               std::string("cannot ") + row_of(call).name + " while the session is " +
                   name_of(state_) + " (" + advice_for(state_) + ')');
}

std::string CounterSession::Impl::event_name(std::size_t event) const {
  return '"' + events_[event]->setup.event.name + '"';
}

/// A trigger counts up to one overflow, and then stops its group by itself.
Result<void> CounterSession::Impl::let_go(Group& group) {
  const bool refresh = group.trigger_ring && group.exhausted;
  const int got = kernel_.control(
      group.leader(), refresh ? PERF_EVENT_IOC_REFRESH : PERF_EVENT_IOC_ENABLE, refresh ? 1 : 0);
  if (got < 0) {
    return Error::from_errno(-got, "cannot start " + event_name(group.members.front().event));
  }
  if (refresh) {
    group.trigger_seen = rings_[*group.trigger_ring].ring.head();
    group.exhausted = false;
  }
  return {};
}

Result<void> CounterSession::Impl::enable_set(unsigned id) {
  for (Group& group : groups_) {
    if (group.set != id) continue;
    auto let = let_go(group);
    if (let) continue;
    disable_set(id);
    return let;
  }
  return {};
}

void CounterSession::Impl::disable_set(unsigned id) {
  for (const Group& group : groups_) {
    if (group.set == id) (void)kernel_.control(group.leader(), PERF_EVENT_IOC_DISABLE, 0);
  }
}

Result<void> CounterSession::Impl::enable_all() {
  for (const int clock : clocks_) {
    const int got = kernel_.control(clock, PERF_EVENT_IOC_ENABLE, 0);
    if (got >= 0) continue;
    disable_all();
    return Error::from_errno(-got, "cannot start the session's clock");
  }
  auto enabled = enable_set(active_);
  if (!enabled) disable_all();
  return enabled;
}

void CounterSession::Impl::disable_all() {
  disable_set(active_);
  for (const int clock : clocks_) (void)kernel_.control(clock, PERF_EVENT_IOC_DISABLE, 0);
}

Result<void> CounterSession::Impl::start() {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::start); !may) return may;
  if (counts()) return {};
  if (!target_.on_exec) {
    if (auto enabled = enable_all(); !enabled) return enabled;
  }
  state_ = SessionState::started;
  begin_activation();
  return {};
}

Result<void> CounterSession::Impl::stop() {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::stop); !may) return may;
  disable_all();
  if (counts()) end_activation();
  state_ = SessionState::loaded;
  target_.on_exec = false;  // from now on, start() starts at once
  return {};
}

Result<void> CounterSession::Impl::restart() {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::restart); !may) return may;
  if (auto enabled = enable_all(); !enabled) return enabled;
  state_ = SessionState::started;
  begin_activation();
  return {};
}

Result<void> CounterSession::Impl::unload_now() {
  if (counts()) {
    disable_all();
    end_activation();
  }
  // What was counted stays. What cannot be read any more is as it was at the last load.
  for (auto& event : events_) {
    if (event) event->wanted = true;
  }
  auto read = read_wanted();
  const auto clock = clock_now();
  for (auto& event : events_) {
    if (!event) continue;
    event->wanted = false;
    event->before.value += event->now.value;
    event->before.enabled_ns += event->now.enabled_ns;
    event->before.running_ns += event->now.running_ns;
  }
  if (clock) clock_before_ = *clock;
  state_ = SessionState::unloaded;
  close_all();
  return read;
}

Result<void> CounterSession::Impl::unload() {
  Lock lock(mutex_);
  if (auto may = check(SessionCall::unload); !may) return may;
  end_switcher(lock);
  // Meanwhile, others may have called.
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

int CounterSession::Impl::wake_descriptor() {
  const Lock lock(mutex_);
  return wake_.get();
}

CounterSession::CounterSession(SessionOptions options, KernelCounters& kernel)
    : impl_(std::make_unique<Impl>(options, kernel)) {}
CounterSession::CounterSession(CounterSession&& other) noexcept = default;
CounterSession& CounterSession::operator=(CounterSession&& other) noexcept = default;
CounterSession::~CounterSession() = default;

SessionState CounterSession::state() {
  return impl_ ? impl_->state() : SessionState::closed;
}
Result<void> CounterSession::create_sets(std::span<const SetSetup> sets) {
  return impl_ ? impl_->create_sets(sets) : Result<void>(no_session());
}
Result<void> CounterSession::delete_sets(std::span<const unsigned> ids) {
  return impl_ ? impl_->delete_sets(ids) : Result<void>(no_session());
}
Result<void> CounterSession::query_sets(std::span<SetQuery> sets) {
  return impl_ ? impl_->query_sets(sets) : Result<void>(no_session());
}
Result<std::size_t> CounterSession::program(std::span<const EventSetup> events) {
  return impl_ ? impl_->program(events) : Result<std::size_t>(no_session());
}
Result<void> CounterSession::set_values(std::span<const ValueSetup> values) {
  return impl_ ? impl_->set_values(values) : Result<void>(no_session());
}
Result<void> CounterSession::load(const CounterTarget& target, std::optional<VectorFault>* fault) {
  return impl_ ? impl_->load(target, fault) : Result<void>(no_session());
}
Result<void> CounterSession::start() {
  return impl_ ? impl_->start() : Result<void>(no_session());
}
Result<void> CounterSession::stop() {
  return impl_ ? impl_->stop() : Result<void>(no_session());
}
Result<void> CounterSession::restart() {
  return impl_ ? impl_->restart() : Result<void>(no_session());
}
Result<void> CounterSession::switch_set(std::optional<unsigned> id) {
  return impl_ ? impl_->switch_set(id) : Result<void>(no_session());
}
Result<void> CounterSession::read(std::span<Reading> readings, bool stop_target) {
  return impl_ ? impl_->read(readings, stop_target) : Result<void>(no_session());
}
Result<std::uint64_t> CounterSession::clock_ns() {
  return impl_ ? impl_->clock_ns() : Result<std::uint64_t>(no_session());
}
int CounterSession::wake_descriptor() {
  return impl_ ? impl_->wake_descriptor() : -1;
}
Result<SampleCounts> CounterSession::read_samples(SampleSink& sink) {
  return impl_ ? impl_->read_samples(sink) : Result<SampleCounts>(no_session());
}
Result<void> CounterSession::unload() {
  return impl_ ? impl_->unload() : Result<void>(no_session());
}
Result<void> CounterSession::close() {
  return impl_ ? impl_->close() : Result<void>(no_session());
}

}  // namespace shmif::perf
