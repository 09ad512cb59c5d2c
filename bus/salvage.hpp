#pragma once
// What is still whole in a ring whose chain broke.
//
// Every frame says where it stands and which number it has. So all of them can be found again by a
// look at every place where a record can begin, whatever became of `first`, `last` and the words
// between. What is found is kept as *runs*, frames side by side with one number after the other: a
// chain that broke at three places is four runs, however many frames it has. So a repair needs
// little memory (kMostRuns), and the time of one look at the ring.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "bus/repair_lock.hpp"
#include "bus/ring.hpp"

namespace shmif::bus {

/// What writers that may still go on may write, as offsets in the ring.
struct Stretch {
  std::uint64_t begin, bytes;
  std::uint64_t commit;  // of the claim it belongs to
};

/// Of every claim that stands.
std::vector<Stretch> standing_claims(const Ring& ring);
/// What the dead had begun to write and cannot be shown to have committed: it may be torn.
std::vector<Stretch> unfinished_batches(const Ring& ring, int fd);
/// The claim that [position, position + bytes) meets in the ring, if any.
const Stretch* claim_in(const Ring& ring, const std::vector<Stretch>& claims,
                        std::uint64_t position, std::uint64_t bytes) noexcept;

/// Frames side by side that prove themselves: each word names its very place, and their numbers
/// grow by one.
struct Run {
  std::uint64_t begin, end;  // positions
  std::uint64_t number;      // of the first frame
  std::uint64_t frames;
  std::uint64_t next_number() const noexcept { return number + frames; }
};

/// A ring in more pieces than this loses the oldest of them.
inline constexpr std::size_t kMostRuns = std::size_t{1} << 18U;

/// Leaves of a run the frames that lie within [from, to); none where somebody wrote over it.
void cut(const Ring& ring, Run& run, std::uint64_t from, std::uint64_t to) noexcept;

struct Salvage {
  std::vector<Run> runs;  ///< the newest lap, by position, free of claims, fit to be joined
  /// Where the chain ended, if that can be proven: what lies behind was never sent.
  std::optional<std::uint64_t> end;
  std::uint64_t place = 0;  ///< where the next chain may end otherwise
};

/// Looks at the whole ring, under the lock. Result: nothing when the lock was lost.
std::optional<Salvage> salvage(const Ring& ring, const std::vector<Stretch>& claims,
                               const std::vector<Stretch>& unfinished, RepairLock& lock);

}  // namespace shmif::bus
