#pragma once
// Walks the chain of records from outside, as audit and repair do.

#include <cstdint>
#include <string>

#include "bus/info.hpp"
#include "bus/ring/ring.hpp"

namespace shmif::bus {

/// For findings: "position 4096".
std::string at(std::uint64_t position);

struct Walk {
  bool broken = false;
  AuditFinding finding;   ///< which invariant is broken
  std::uint64_t end = 0;  ///< where the chain ends, or is broken
  std::uint64_t records = 0, frames = 0, pads = 0;
  bool met_last = false;
};

/// Follows the chain from `first` to its end. On a bus in use, repeats a walk that writers
/// overtook, up to 50 times.
Walk walk_chain(const Ring& ring);

}  // namespace shmif::bus
