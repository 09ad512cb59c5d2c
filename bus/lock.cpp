#include "bus/lock.hpp"

#include <time.h>

#include "bus/atomics.hpp"
#include "bus/liveness.hpp"

namespace shmif::bus {

std::uint64_t BusLock::acquire() noexcept {
  using Clock = std::chrono::steady_clock;
  std::uint64_t watched = 0;  // the value whose holder we lose patience with
  Clock::time_point since;
  for (;;) {  // runs until acquired: every other holder can be taken over (L3)
    for (unsigned spin = 0; spin < kSpins; ++spin) {
      const std::uint64_t seen = load_relaxed(header_->lock);
      if (lock_word::is_free(seen) || lock_word::holder(seen) == slot_) {
        // Our own name without our holding it: a stray value, or what repair left behind.
        const std::uint64_t mine = lock_word::next_held_by(seen, slot_);
        if (compare_and_swap(header_->lock, seen, mine)) return mine;
      }
      cpu_relax();
    }
    const std::uint64_t seen = load_relaxed(header_->lock);
    if (lock_word::is_free(seen)) continue;
    ++sleeps_;
    const timespec cooldown{0, std::chrono::nanoseconds(kCooldown).count()};
    nanosleep(&cooldown, nullptr);
    const Clock::time_point now = Clock::now();
    if (seen != watched) {
      watched = seen;
      since = now;
    }
    const bool dead = holder_is_dead(lock_word::holder(seen));
    if ((dead || now - since >= kPatience) && take_over(seen, dead)) {
      return lock_word::next_held_by(seen, slot_);
    }
  }
}

bool BusLock::holds(std::uint64_t mine) const noexcept {
  return load_seq_cst(header_->lock) == mine;
}

void BusLock::release(std::uint64_t mine) noexcept {
  // Fails when the lock was taken over; then it is not ours to free. A full barrier either way.
  compare_and_swap(header_->lock, mine, lock_word::freed(mine));
}

bool BusLock::holder_is_dead(unsigned holder) const noexcept {
  if (holder == lock_word::kRepairSlot) return false;  // it has no liveness lock: patience decides
  if (holder >= kSlots) return true;                   // nobody has such a slot
  return same_file(probe_fd_, header_->inode) && !is_alive(probe_fd_, holder);
}

bool BusLock::take_over(std::uint64_t seen, bool dead) noexcept {
  fetch_add(header_->takeovers, std::uint64_t{1});  // L2: before, so that who scans claims knows
  if (!compare_and_swap(header_->lock, seen, lock_word::next_held_by(seen, slot_))) return false;
  fetch_add(dead ? header_->takeovers_dead : header_->takeovers_living, std::uint64_t{1});
  return true;
}

}  // namespace shmif::bus
