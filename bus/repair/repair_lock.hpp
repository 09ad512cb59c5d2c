#pragma once
// The lock as `repair` holds it: taken from any holder, and kept by showing progress to waiters.

#include "bus/atomics.hpp"
#include "bus/layout.hpp"

namespace shmif::bus {

/// Holds the lock in the name of `repair`. In a long hold, call keep() several times in each
/// BusLock::kPatience; otherwise a waiting sender believes that the holder has stopped.
class RepairLock {
 public:
  explicit RepairLock(BusHeader& header) noexcept : header_(header) {
    std::uint64_t seen = 0;
    do {  // L2: the count grows first, then the lock is taken from its holder
      fetch_add(header_.takeovers, std::uint64_t{1});
      seen = load_acquire(header_.lock);
      mine_ = lock_word::next_held_by(seen, lock_word::kRepairSlot);
    } while (!compare_and_swap(header_.lock, seen, mine_));
  }
  RepairLock(const RepairLock&) = delete;
  RepairLock& operator=(const RepairLock&) = delete;
  ~RepairLock() { compare_and_swap(header_.lock, mine_, lock_word::freed(mine_)); }

  /// Shows progress, so that no waiter loses patience. Result: false if somebody took the lock
  /// over.
  bool keep() noexcept {
    const std::uint64_t next = lock_word::next_held_by(mine_, lock_word::kRepairSlot);
    if (!compare_and_swap(header_.lock, mine_, next)) return false;
    mine_ = next;
    return true;
  }

 private:
  BusHeader& header_;
  std::uint64_t mine_ = 0;
};

}  // namespace shmif::bus
