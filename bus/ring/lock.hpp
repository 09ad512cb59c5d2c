#pragma once
// The lock of the bus. It only keeps writers out of each other's way; the commit decides which
// batch counts (bus/ring/ring.hpp). So others may take it from its holder at any moment, whether
// that is dead, stopped or slow.
//
// L1  The word names its owner and a count that grows at every acquisition and takeover, so no
// value comes back.
//
// L2  A takeover is one CAS from the exact value seen, and `takeovers` grows before it.
//
// L3  A waiter takes over from a dead holder at once (it asks after each cooldown), and from a
// living one after it has seen the same value for kPatience by its own clock.
//
// L4  No other rule depends on who holds the lock: see I3 to I5 in bus/ring/ring.hpp.
//
// L5  A waiter that did not get the lock for kUnlucky writes its wish to be next. Others then leave
// a free lock to it until it has had its turn, but for a few cooldowns at most; then they delete
// the wish. So a sender that leaves no gap between its batches does not starve the others, and a
// wish whose owner died or sleeps delays the others only once.

#include <chrono>
#include <cstdint>

#include "bus/atomics.hpp"
#include "bus/file/file_id.hpp"
#include "bus/layout.hpp"

namespace shmif::bus {

class BusLock {
 public:
  /// `slot`: the port that takes the lock. `probe_fd`: a description of the file, to ask which
  /// ports live, or -1.
  BusLock(BusHeader& header, unsigned slot, int probe_fd) noexcept;

  /// Takes the lock. Result: the lock word while it is held. Threads: one at a time per slot (the
  /// caller serialises). Blocks: for other holders; at most kPatience for one without progress.
  std::uint64_t acquire() noexcept;
  /// Gives the lock back, unless it was taken over. The next holder sees all that was done before;
  /// if the lock was taken over, the new holder need not see it (L4).
  void release(std::uint64_t mine) noexcept;

  /// Requests the lock's cache line, so that it is there when acquire() needs it.
  void prefetch() const noexcept { prefetch_to_write(header_->lock); }
  /// Whether the last acquire() had to wait.
  bool waited() const noexcept { return waited_; }
  std::uint64_t sleeps() const noexcept { return sleeps_; }

  /// Looks at a held lock before the first sleep: about a microsecond, as long as a large batch
  /// takes. (By measurement, docs/decisions.md; NetBSD if_shmem.c has 1001.)
  static constexpr unsigned kSpins = 50;
  static constexpr std::chrono::microseconds kCooldown{50};
  /// The cooldown doubles up to this while the holder makes no progress.
  static constexpr std::chrono::microseconds kLongestCooldown{800};
  static constexpr std::chrono::milliseconds kPatience{100};
  /// After this time a waiter takes the lock from any holder. No wait takes that long (L5), unless
  /// a peer overwrites the lock again and again, so that its holder never seems to stand still.
  static constexpr std::chrono::seconds kLongestWait{2};
  /// The same while `repair` holds the lock: it looks at a whole ring in one hold.
  static constexpr std::chrono::seconds kLongestRepair{20};
  static constexpr std::chrono::milliseconds kUnlucky{1};
  static constexpr unsigned kStepBackCooldowns = 4;

 private:
  bool try_acquire(std::uint64_t& mine) noexcept;
  bool spin(unsigned times, std::uint64_t& mine) noexcept;
  std::uint64_t wait_for_turn() noexcept;
  std::uint64_t own_wish() const noexcept { return std::uint64_t{slot_} + 1; }
  bool somebody_else_wishes() const noexcept;
  void step_back() noexcept;
  bool holder_is_dead(unsigned holder) const noexcept;
  bool take_over(std::uint64_t seen, bool dead) noexcept;
  void note_hold(std::chrono::nanoseconds time) noexcept;

  BusHeader* header_;
  unsigned slot_;
  int probe_fd_;
  FileId file_;  // behind probe_fd when it was given
  bool waited_ = false;
  std::uint64_t sleeps_ = 0;
};

}  // namespace shmif::bus
