// The turns of event sets, and the thread that gives them.

#include <string>
#include <utility>

#include "instruments/counters/session_impl.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {

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

}  // namespace shmif::perf
