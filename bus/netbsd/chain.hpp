#pragma once
// The headers of a NetBSD bus, followed from the oldest to the newest, for those who check it.

#include <cstdint>
#include <string>

#include "bus/netbsd/ring.hpp"

namespace shmif::bus {

struct NetbsdChain {
  std::uint64_t frames = 0, pads = 0;
  std::uint64_t bytes = 0;     ///< of the frames
  std::uint64_t good_end = 0;  ///< the last position on the chain, at most `last`
  std::string broken;          ///< why the chain does not lead to `last` (N3); empty: it does
  std::string wrong_frames;    ///< frames that no correct writer writes; empty: none
};

/// Follows the chain of `state`. It is that state's chain if `first` has not grown meanwhile.
NetbsdChain walk_netbsd_chain(const NetbsdRing& ring, const NetbsdState& state);

/// Makes the ring hold what leads from `state.first` to `end`, which is on the chain; nothing, if
/// `end` is `state.first`. Raises the generation by two, so that every reader sees that its place
/// is gone. The caller holds the lock. `generation`: the present one, 0 if it is unknown.
void rebuild_netbsd_chain(const NetbsdRing& ring, const NetbsdState& state, std::uint64_t end,
                          std::uint64_t generation) noexcept;

}  // namespace shmif::bus
