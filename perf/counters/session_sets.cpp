// Event sets: who they are, and whose turn it is.

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <set>

#include "perf/counters/session_impl.hpp"

namespace shmif::perf {
namespace {

Error wrong_element(std::size_t element, const std::string& why) {
  return {CounterErrc::invalid, "element " + std::to_string(element) + ": " + why};
}

std::string set_name(unsigned id) {
  return "event set " + std::to_string(id);
}

}  // namespace

Result<void> CounterSession::Impl::check_set_setup(std::span<const SetSetup> sets) const {
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

Result<void> CounterSession::Impl::create_sets(std::span<const SetSetup> sets) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::create_set); !may) return may;
  if (auto right = check_set_setup(sets); !right) return right;
  for (const SetSetup& setup : sets) {
    for (auto& event : events_) {
      if (event && event->setup.set == setup.id) event.reset();
    }
    sets_[setup.id] = Set{setup};
  }
  return {};
}

Result<void> CounterSession::Impl::delete_sets(std::span<const unsigned> ids) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::delete_set); !may) return may;
  std::set<unsigned> seen;
  for (std::size_t at = 0; at < ids.size(); ++at) {
    if (ids[at] == 0) return wrong_element(at, "event set 0 always exists");
    if (!sets_.contains(ids[at])) return wrong_element(at, "no " + set_name(ids[at]));
    if (!seen.insert(ids[at]).second)
      return wrong_element(at, set_name(ids[at]) + " is there twice");
  }
  for (const unsigned id : ids) {
    for (auto& event : events_) {
      if (event && event->setup.set == id) event.reset();
    }
    sets_.erase(id);
    if (active_ == id) active_ = 0;
  }
  return {};
}

Result<void> CounterSession::Impl::query_sets(std::span<SetQuery> sets) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::query_sets); !may) return may;
  for (std::size_t at = 0; at < sets.size(); ++at) {
    if (!sets_.contains(sets[at].id)) return wrong_element(at, "no " + set_name(sets[at].id));
  }
  const auto clock = clock_now();
  for (SetQuery& query : sets) {
    const Set& set = sets_.at(query.id);
    query.events = static_cast<std::size_t>(std::ranges::count_if(
        events_, [&](const auto& event) { return event && event->setup.set == query.id; }));
    query.activations = set.activations;
    query.is_active = query.id == active_;
    query.active_ns = set.active_ns;
    if (query.is_active && counts() && clock) query.active_ns += *clock - set.active_since;
  }
  return {};
}

unsigned CounterSession::Impl::set_after(unsigned id) const {
  const auto next = sets_.upper_bound(id);
  return next == sets_.end() ? sets_.begin()->first : next->first;
}

/// Begins the turn of the active set, which counts already.
void CounterSession::Impl::begin_activation() {
  Set& set = sets_.at(active_);
  ++set.activations;
  const auto clock = clock_now();
  set.active_since = clock ? *clock : 0;
  turn_end_ = std::chrono::steady_clock::now() + set.setup.turn;
  if (sets_.size() < 2 || !options_.switch_by_itself) return;
  if (!switcher_) {
    switcher_ = std::make_unique<Switcher>();
    switcher_->wake.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    switcher_->thread =
        std::jthread([this, wake = switcher_->wake.get()](const std::stop_token& stop) {
          run_switcher(stop, wake);
        });
  }
  (void)::eventfd_write(switcher_->wake.get(), 1);
}

void CounterSession::Impl::end_activation() {
  Set& set = sets_.at(active_);
  const auto clock = clock_now();
  if (clock) set.active_ns += *clock - std::min(*clock, set.active_since);
}

Result<void> CounterSession::Impl::make_active(unsigned id) {
  const unsigned before = active_;
  if (counts()) {
    disable_set(before);
    end_activation();
    if (auto enabled = enable_set(id); !enabled) {
      (void)enable_set(before);
      begin_activation();
      return enabled;
    }
  }
  active_ = id;
  if (counts()) begin_activation();
  return {};
}

Result<void> CounterSession::Impl::switch_set(std::optional<unsigned> id) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::switch_set); !may) return may;
  if (id && !sets_.contains(*id)) {
    return Error(CounterErrc::invalid, "cannot switch to " + set_name(*id) + ": it does not exist");
  }
  return make_active(id.value_or(set_after(active_)));
}

int CounterSession::Impl::turn_left_ms(std::chrono::steady_clock::time_point now) const {
  if (!counts() || sets_.at(active_).setup.turn.count() == 0) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(turn_end_ - now).count();
  constexpr long kLongestMs = 3'600'000;
  return static_cast<int>(std::clamp<long>(left, 0, kLongestMs));
}

/// The thread that switches sets.
void CounterSession::Impl::run_switcher(const std::stop_token& stop, int wake) {
  std::vector<pollfd> wakers;
  for (;;) {  // until the session is unloaded
    Lock lock(mutex_);
    if (stop.stop_requested()) return;
    update();
    const auto now = std::chrono::steady_clock::now();
    if (turn_left_ms(now) == 0) {
      // A target that has not run since, or not executed its program, has not had this turn.
      const auto clock = clock_now();
      if (clock && *clock > sets_.at(active_).active_since) {
        (void)make_active(set_after(active_));
      } else {
        turn_end_ = now + sets_.at(active_).setup.turn;
      }
    }
    wakers.assign(1, {wake, POLLIN, 0});
    for (const Group& group : groups_) {
      if (counts() && group.set == active_ && group.trigger_ring) {
        wakers.push_back({group.leader(), POLLIN, 0});
      }
    }
    const int left = turn_left_ms(std::chrono::steady_clock::now());
    lock.unlock();
    ::poll(wakers.data(), wakers.size(), left);
    eventfd_t ignored = 0;
    (void)::eventfd_read(wake, &ignored);
  }
}

/// Others may call meanwhile, also start().
void CounterSession::Impl::end_switcher(Lock& lock) {
  while (switcher_) {
    // Otherwise an overflow would begin a turn, which makes another switcher.
    if (counts()) {
      disable_all();
      end_activation();
      state_ = SessionState::loaded;
    }
    const std::unique_ptr<Switcher> done = std::move(switcher_);
    done->thread.request_stop();
    (void)::eventfd_write(done->wake.get(), 1);
    lock.unlock();
    done->thread.join();
    lock.lock();
  }
}

}  // namespace shmif::perf
