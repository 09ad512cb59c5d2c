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

#include "bus/repair/repair_lock.hpp"
#include "bus/ring/ring.hpp"

namespace shmif::bus {

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
