#pragma once
// Audit checks every invariant that can be checked from outside. Repair restores them.

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "bus/info.hpp"
#include "bus/ring/ring.hpp"

namespace shmif::bus {

/// Checks the invariants of bus/ring/ring.hpp, bus/ring/lock.hpp and bus/port/port_table.hpp;
/// does not change the bus. On a bus in use it looks again at what seems wrong, since several words
/// cannot be read in one instant. `fixed`: the checked copy of the header. `fd`: any description of
/// the file.
AuditReport audit_bus(const Ring& ring, const BusHeader& fixed, int fd);

/// Whether the fixed part of the header differs from `fixed`, the checked copy of it.
bool fixed_part_differs(const Ring& ring, const BusHeader& fixed) noexcept;

/// Frees what dead ports hold. If the chain is broken, it also takes the lock from any holder,
/// joins every frame that can still be proven whole into a new chain, and starts a new epoch, at
/// which attached ports find their place again.
Result<RepairReport> repair_bus(const Ring& ring, const BusHeader& fixed, int fd);

/// For findings: "position 4096".
std::string at(std::uint64_t position);

struct Walk {
  bool broken = false;
  AuditFinding finding;   ///< which invariant is broken
  std::uint64_t end = 0;  ///< where the chain ends, or is broken
  std::uint64_t records = 0, frames = 0, pads = 0;
  bool met_last = false;
};

/// Follows the chain of records from `first` to its end, as audit and repair do. On a bus in use,
/// repeats a walk that writers overtook, up to 50 times.
Walk walk_chain(const Ring& ring);

}  // namespace shmif::bus
