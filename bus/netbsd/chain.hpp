#pragma once
// Follows the headers of a NetBSD bus from the oldest to the newest, for audit and repair.

#include <cstdint>
#include <string>

#include "bus/netbsd/ring.hpp"

namespace shmif::bus {

struct NetbsdChain {
  std::uint64_t frames = 0, pads = 0;
  std::uint64_t bytes = 0;     ///< of the frames
  std::uint64_t good_end = 0;  ///< the last position on the chain, at most `last`
  std::string broken;          ///< why the chain does not lead to `last` (N3), or empty
  std::string wrong_frames;    ///< frames that no correct writer writes, or empty
};

/// Follows the chain of `state`. The result is valid if `first` has not grown meanwhile.
NetbsdChain walk_netbsd_chain(const NetbsdRing& ring, const NetbsdState& state);

/// Keeps in the ring only the frames from `state.first` to `end`, which is on the chain; no frame,
/// if `end` is `state.first`. Raises the generation by two, so that every reader sees that its
/// place is gone. The caller holds the lock. `generation`: the present one, 0 if it is unknown.
void rebuild_netbsd_chain(const NetbsdRing& ring, const NetbsdState& state, std::uint64_t end,
                          std::uint64_t generation) noexcept;

}  // namespace shmif::bus
