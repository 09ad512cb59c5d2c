#pragma once
// The lock of the bus. It only keeps writers out of each other's way; what decides is the commit
// (bus/ring.hpp), so it may be taken from its holder at any moment, dead, stopped or slow.
//
// L1  The word names its owner and a count that grows at every acquisition and takeover, so no
// value comes back.
//
// L2  A takeover is one CAS from the exact value seen, and `takeovers` grows before it.
//
// L3  A waiter takes over from a dead holder at once (it asks after each cooldown), from a living
// one after it has seen the same value for kPatience by its own clock.
//
// L4  Nothing else depends on who holds the lock: see I3 to I5 in bus/ring.hpp.

#include <chrono>
#include <cstdint>

#include "bus/layout.hpp"

namespace shmif::bus {

class BusLock {
 public:
  /// `slot`: in whose name. `probe_fd`: a description of the file, or -1, for the question who
  /// lives; `inode` of the file.
  BusLock(BusHeader& header, unsigned slot, int probe_fd) noexcept
      : header_(&header), slot_(slot), probe_fd_(probe_fd) {}

  /// Takes the lock. Result: the word that says so. Threads: one at a time per slot (the caller
  /// serialises). Blocks: for other holders; at most kPatience for one without progress.
  std::uint64_t acquire() noexcept;
  bool holds(std::uint64_t mine) const noexcept;
  /// Gives the lock back unless it was taken over. A full barrier: what was committed is visible
  /// before the look at the sleepers that follows.
  void release(std::uint64_t mine) noexcept;

  std::uint64_t sleeps() const noexcept { return sleeps_; }
  void set_probe(int fd) noexcept { probe_fd_ = fd; }

  static constexpr unsigned kSpins = 1001;  // NetBSD if_shmem.c
  static constexpr std::chrono::microseconds kCooldown{50};
  static constexpr std::chrono::milliseconds kPatience{100};

 private:
  bool holder_is_dead(unsigned holder) const noexcept;
  bool take_over(std::uint64_t seen, bool dead) noexcept;

  BusHeader* header_;
  unsigned slot_;
  int probe_fd_;
  std::uint64_t sleeps_ = 0;
};

}  // namespace shmif::bus
