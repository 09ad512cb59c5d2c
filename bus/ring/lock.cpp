#include "bus/ring/lock.hpp"

#include <time.h>

#include <algorithm>

#include "bus/file/liveness.hpp"

namespace shmif::bus {
namespace {

void sleep_for(std::chrono::nanoseconds time) noexcept {
  const timespec t{0, static_cast<long>(time.count())};
  nanosleep(&t, nullptr);
}

}  // namespace

BusLock::BusLock(BusHeader& header, unsigned slot, int probe_fd) noexcept
    : header_(&header), slot_(slot), probe_fd_(probe_fd), file_(FileId::of(probe_fd)) {}

std::uint64_t BusLock::acquire() noexcept {
  std::uint64_t mine = 0;
  waited_ = somebody_else_wishes() || !try_acquire(mine);
  return waited_ ? wait_for_turn() : mine;
}

bool BusLock::try_acquire(std::uint64_t& mine) noexcept {
  const std::uint64_t seen = load_relaxed(header_->lock);
  // The lock names this port, but this port does not hold it: the value is stray, or repair left
  // it.
  if (!lock_word::is_free(seen) && lock_word::holder(seen) != slot_) return false;
  mine = lock_word::next_held_by(seen, slot_);
  return compare_and_swap(header_->lock, seen, mine);
}

bool BusLock::spin(unsigned times, std::uint64_t& mine) noexcept {
  for (; times > 0; --times) {
    if (!somebody_else_wishes() && try_acquire(mine)) return true;
    cpu_relax();
  }
  return false;
}

std::uint64_t BusLock::wait_for_turn() noexcept {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point began = Clock::now();
  std::uint64_t watched = 0;  // the last lock word seen, unchanged since `since`
  Clock::time_point since;
  std::chrono::microseconds cooldown = kCooldown;
  bool stalled = false;  // the holder made no progress: spinning is useless
  std::uint64_t mine = 0;
  while (!spin(stalled ? 1 : kSpins, mine)) {  // runs until acquired: see L3 and L5
    const std::uint64_t seen = load_relaxed(header_->lock);
    if (lock_word::is_free(seen)) {
      if (Clock::now() - began >= kLongestWait && try_acquire(mine)) break;  // in spite of any wish
      step_back();
      continue;
    }
    if (seen != watched) {
      watched = seen;
      since = Clock::now();
      cooldown = kCooldown;
    }
    ++sleeps_;
    sleep_for(cooldown);
    const Clock::time_point now = Clock::now();
    stalled = load_relaxed(header_->lock) == seen;
    if (stalled) {
      cooldown = std::min(cooldown * 2, kLongestCooldown);
      note_hold(now - since);
    }
    if (now - began >= kUnlucky) compare_and_swap(header_->wish, std::uint64_t{0}, own_wish());
    const bool dead = holder_is_dead(lock_word::holder(seen));
    const bool repair = lock_word::holder(seen) == lock_word::kRepairSlot;
    const bool too_long =
        now - since >= kPatience || now - began >= (repair ? kLongestRepair : kLongestWait);
    if ((dead || too_long) && take_over(seen, dead)) {
      mine = lock_word::next_held_by(seen, slot_);
      break;
    }
  }
  if (load_relaxed(header_->wish) == own_wish()) {
    compare_and_swap(header_->wish, own_wish(), std::uint64_t{0});
  }
  return mine;
}

bool BusLock::somebody_else_wishes() const noexcept {
  const std::uint64_t wish = load_relaxed(header_->wish);  // beside the lock, on the same line
  return wish != 0 && wish != own_wish();
}

/// Leaves the lock to the port that has written its wish; deletes the wish if no port comes (L5).
void BusLock::step_back() noexcept {
  const std::uint64_t wish = load_relaxed(header_->wish);
  if (wish == 0 || wish == own_wish()) return;
  for (unsigned i = 0; i < kStepBackCooldowns; ++i) {
    for (unsigned spin = 0; spin < kSpins; ++spin) {
      if (load_relaxed(header_->wish) != wish) return;
      cpu_relax();
    }
    sleep_for(kCooldown);
  }
  compare_and_swap(header_->wish, wish, std::uint64_t{0});
}

void BusLock::release(std::uint64_t mine) noexcept {
  // Fails if the lock was taken over: then this port must not free it.
  compare_and_swap(header_->lock, mine, lock_word::freed(mine));
}

bool BusLock::holder_is_dead(unsigned holder) const noexcept {
  if (holder == lock_word::kRepairSlot) return false;  // it has no liveness lock: patience decides
  if (holder >= kSlots) return true;                   // no port has such a slot
  return same_file(probe_fd_, file_) && !is_alive(probe_fd_, holder);
}

void BusLock::note_hold(std::chrono::nanoseconds time) noexcept {
  const auto held = static_cast<std::uint64_t>(time.count());
  std::uint64_t longest = load_relaxed(header_->longest_hold_ns);
  // Fails if another port noted a time; that time stays unless it is shorter.
  for (unsigned tries = 0; tries < 8 && longest < held; ++tries) {
    if (compare_and_swap(header_->longest_hold_ns, longest, held)) return;
    longest = load_relaxed(header_->longest_hold_ns);
  }
}

bool BusLock::take_over(std::uint64_t seen, bool dead) noexcept {
  fetch_add(header_->takeovers, std::uint64_t{1});  // L2: before, so that scanners of claims notice
  if (!compare_and_swap(header_->lock, seen, lock_word::next_held_by(seen, slot_))) return false;
  fetch_add(dead ? header_->takeovers_dead : header_->takeovers_living, std::uint64_t{1});
  return true;
}

}  // namespace shmif::bus
