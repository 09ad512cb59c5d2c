#pragma once
// The port table: one slot per port. The process that holds the liveness lock of a slot owns the
// slot, so attaching needs no other lock:
//
// P1  Only the owner writes a slot, except for the fields marked (A) in the layout, and for
// clearing a dead owner's claim.
//
// P2  The incarnation grows at every attach, so a frame's sender is never mistaken for the slot's
// next owner.
//
// P3  Names and addresses of live ports are unique: a port publishes its own as `attaching`, and
// then looks at all others. If two do so at once, at least one sees the other; the one in the lower
// slot wins.

#include <cstdint>
#include <optional>
#include <string>

#include "bus/file/liveness.hpp"
#include "bus/port_options.hpp"
#include "bus/ring/ring.hpp"

namespace shmif::bus {

struct OwnedSlot {
  unsigned slot = 0;
  std::uint32_t incarnation = 0;  ///< low bits of the one in the state word
  std::uint64_t state = 0;        ///< the state word of the live slot
  std::string name;
  MacAddress mac;
  Lifeline life;  ///< while it exists, the slot is ours
  Nameplate plate;
};

/// Takes a slot, and publishes name and address. The slot's liveness lock is on a new description
/// of the file behind `fd`. The slot is live then, and down. Blocks: for the name_patience of the
/// options, while another port has the name or the address. Errors: bad_name, bad_argument (a MAC
/// address that is not unicast), table_full, name_taken, mac_taken; the last two name the port in
/// the way.
Result<OwnedSlot> take_slot(const Ring& ring, int fd, const std::string& path,
                            const PortOptions& options);

/// Writes what the owner of a live slot knows into it again, except flags, counters and claim.
void restore_slot(const Ring& ring, const OwnedSlot& owned, MacAddress mac, LinkKind kind) noexcept;

/// Whether a live port in another slot has this address.
bool address_is_taken(const Ring& ring, unsigned self, int fd, MacAddress mac) noexcept;

/// Gives a slot back; only its owner may call this.
void free_slot(const Ring& ring, unsigned slot) noexcept;

struct Reaped {
  bool slot = false;   ///< the slot is free now
  bool claim = false;  ///< a claim was cleared
};
/// If a port is dead, takes back what it holds: its claim, its slot. Never harms a new owner of the
/// slot. `fd`: any description of the file.
Reaped reap_if_dead(const Ring& ring, unsigned slot, int fd) noexcept;

/// The name in a slot; bounded and printable, whatever the slot holds.
std::string slot_name(const PortSlot& slot);

}  // namespace shmif::bus
