#pragma once
// Finds what is still whole in a ring whose chain is broken.
//
// Every record says where it is and which number its first frame has. So all of them can be found
// again by a look at every place where a record can begin, whatever happened to `first`, `last` and
// the words between. They are kept as *runs*: adjacent records whose numbers fit. A chain that
// broke at three places is four runs, however many frames it has. So a repair needs little memory
// (kMaxRuns), and the time of one look at the ring.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "bus/atomics.hpp"
#include "bus/layout.hpp"
#include "bus/ring/ring.hpp"

namespace shmif::bus {

/// Holds the lock in the name of `repair`: taken from any holder, and kept by showing progress to
/// waiters. In a long hold, call keep() several times in each
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

/// A place in the ring that a late writer may still write to.
struct Stretch {
  std::uint64_t begin, bytes;
  std::uint64_t commit;  // position of the word that commits the claim's batch
};

/// The stretches of all claims that stand.
std::vector<Stretch> standing_claims(const Ring& ring);
/// The batches that dead writers had begun and may not have committed: these may be torn.
std::vector<Stretch> unfinished_batches(const Ring& ring, int fd);
/// The claim that overlaps [position, position + bytes) in the ring; nullptr if no claim does.
const Stretch* claim_in(const Ring& ring, const std::vector<Stretch>& claims,
                        std::uint64_t position, std::uint64_t bytes) noexcept;

/// Adjacent records of frames that prove themselves: each word names its own place, the frames of a
/// shared record fill it (I9), and the numbers grow by one.
struct Run {
  std::uint64_t begin, end;  // positions
  std::uint64_t number;      // of the first frame
  std::uint64_t frames;
  std::uint64_t records;
  std::uint64_t next_number() const noexcept { return number + frames; }
};

/// If a ring is in more pieces than this, the oldest pieces are lost.
inline constexpr std::size_t kMaxRuns = std::size_t{1} << 18U;

/// Reduces a run to the records that lie within [from, to); to no frames if somebody overwrote it.
void cut(const Ring& ring, Run& run, std::uint64_t from, std::uint64_t to) noexcept;

struct Salvage {
  std::vector<Run> runs;  ///< the newest lap, by position, outside of claims, ready to be joined
  /// Where the chain ended, if that can be proven: frames behind it were never sent.
  std::optional<std::uint64_t> end;
  std::uint64_t place = 0;  ///< where the next chain may end if `end` is empty
};

/// Looks at the whole ring, under the lock. Result: empty if the lock was lost.
std::optional<Salvage> salvage(const Ring& ring, const std::vector<Stretch>& claims,
                               const std::vector<Stretch>& unfinished, RepairLock& lock);

}  // namespace shmif::bus
