#pragma once
// Audit: every invariant that can be checked from outside. Repair: what restores them.

#include "bus/info.hpp"
#include "bus/result.hpp"
#include "bus/ring.hpp"

namespace shmif::bus {

/// Checks the invariants of bus/ring.hpp, bus/lock.hpp and bus/port_table.hpp; changes nothing. On
/// a bus in use, what looks wrong is looked at again, since several words cannot be read in one
/// instant. `fixed`: the checked copy of the header. `fd`: any description of the file.
AuditReport audit_bus(const Ring& ring, const BusHeader& fixed, int fd);

/// Whether the part of the header that never changes is not what it was. `fixed`: as above.
bool fixed_part_differs(const Ring& ring, const BusHeader& fixed) noexcept;

/// Frees what dead ports hold. Where the chain is broken, takes the lock from whoever holds it,
/// joins every frame that can still be proven whole into a new chain, and starts a new epoch, at
/// which attached ports find their place again.
Result<RepairReport> repair_bus(const Ring& ring, const BusHeader& fixed, int fd);

}  // namespace shmif::bus
