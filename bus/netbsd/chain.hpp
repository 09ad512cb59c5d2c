#pragma once
// Follows the headers of a NetBSD bus from the oldest to the newest, for audit and repair.

#include <cstdint>
#include <string>

#include "bus/netbsd/ring.hpp"

namespace shmif::bus {

struct NetbsdChain {
  std::uint64_t frames = 0, pads = 0;
  std::uint64_t bytes = 0;   ///< of the frames
  std::string broken;        ///< why the chain does not lead to `last` (N3), or empty
  std::string wrong_frames;  ///< frames that no correct writer writes, or empty

  bool is_sound() const noexcept { return broken.empty() && wrong_frames.empty(); }
};

/// Follows the chain of `state`. The result is valid if `first` has not grown meanwhile.
NetbsdChain walk_netbsd_chain(const NetbsdRing& ring, const NetbsdState& state);

/// Keeps the frames from `first` on that lead to one another and towards `last`, and drops the one
/// at `last`: a kernel moves `last` before it writes the header there, and raises the generation at
/// the end. So if it was killed meanwhile, neither that header nor the generation tells anything
/// (N4), and all other headers are whole. Raises the generation by two, so that every reader sees
/// that its place is gone. The caller holds the lock.
void rebuild_netbsd_chain(const NetbsdRing& ring) noexcept;

}  // namespace shmif::bus
