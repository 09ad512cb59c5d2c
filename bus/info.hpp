#pragma once
// What an observer can see of a bus of any format: ports, counters, geometry, findings of an audit.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bus/mac.hpp"

namespace shmif {

/// The kind of a port, for those who look at the bus; `stat` prints its name.
enum class LinkKind : std::uint8_t { library, tap, veth, packet, dump, inject, ping, bridge, pcap };
/// "library", "tap", ...
const char* to_string(LinkKind kind) noexcept;

/// How senders treat slow ports.
enum class Flow : std::uint8_t {
  ethernet,  ///< they do not wait: a port that is too slow loses the oldest frames
  pause,     ///< they wait for the port, for a bounded time
};
/// "ethernet" or "pause".
const char* to_string(Flow flow) noexcept;

/// How a bus file is opened. Only a repair and ports write.
enum class Access : std::uint8_t { read_only, read_write };

/// The format of a bus file.
enum class BusFormat : std::uint8_t {
  shmif,   ///< our own
  netbsd,  ///< the format of NetBSD's rump kernels, version 3: docs/netbsd.md
};
/// "shmif" or "netbsd".
const char* to_string(BusFormat format) noexcept;

/// What a port has done since it was attached. The frames on the bus pass the port in order. While
/// every writer follows the protocol, each frame that has passed the port is counted in exactly one
/// of rx_frames, own_frames, filtered_frames, skipped_frames and lost_frames.
struct PortCounters {
  std::uint64_t tx_frames = 0,        ///< frames sent
      tx_bytes = 0,                   ///< bytes of the frames sent, without FCS
      rx_frames = 0,                  ///< frames delivered to its program
      rx_bytes = 0;                   ///< bytes of the frames delivered, without FCS
  std::uint64_t own_frames = 0;       ///< not delivered: sent by this port
  std::uint64_t filtered_frames = 0;  ///< not delivered: addressed to others
  std::uint64_t skipped_frames = 0;   ///< passed while the port was down
  std::uint64_t overruns = 0;         ///< times that writers overwrote what it had not read
  std::uint64_t lost_frames = 0;      ///< lost, most of them in overruns
  std::uint64_t lost_bytes = 0;       ///< of the ring, record headers included
  std::uint64_t corrupt = 0;          ///< times the shared memory was found corrupt
  std::uint64_t wakeups = 0;          ///< times it slept and was woken
  std::uint64_t doorbells = 0;  ///< times it woke others; a batch counts once, however many it woke
  std::uint64_t lock_sleeps = 0;      ///< cooldowns spent waiting for the lock
  std::uint64_t pauses = 0;           ///< times it waited for a slow port (flow *pause* only)
  std::uint64_t paused_ns = 0;        ///< for how long in total
  std::uint64_t tx_segments = 0,      ///< tx_frames, but a super-frame counts as its segments
      rx_segments = 0;                ///< rx_frames, but a super-frame counts as its segments
  std::uint64_t too_long_frames = 0;  ///< not sent: longer than the bus allows
  /// Not sent for another reason: too short, or with impossible work for the receiver.
  std::uint64_t refused_frames = 0;
  /// Overruns on a bus whose format does not number its frames. lost_frames counts one for each.
  std::uint64_t uncounted_overruns = 0;
  /// Whether more frames may be lost than lost_frames says: corruption was seen, or the format does
  /// not tell how many were lost.
  bool lost_is_lower_bound() const noexcept { return corrupt != 0 || uncounted_overruns != 0; }
};

/// One row of the port table, with the port's counters.
struct PortInfo : PortCounters {
  unsigned slot = 0;  ///< number of the row, as FrameView::sender names it
  /// Which of the successive ports in this slot it is: grows at each attach. These are the low 32
  /// bits. 0: the slot changed its owner while it was read.
  std::uint32_t incarnation = 0;
  std::string name;   ///< as PortOptions::name, or as the bus chose it
  bool live = false;  ///< false: its process is gone; the next attach or `repair` frees the slot
  /// In the pid namespace of its own process. Not greater than 0: the row was overwritten.
  std::int32_t pid = 0;
  MacAddress mac;  ///< zeros if the row was overwritten with something that no port can have
  /// What it belongs to, as its program said (PortOptions::kind).
  LinkKind link = LinkKind::library;
  bool up = false;  ///< it is live, and sends and receives
  /// False: the network interface behind the port is down or has no carrier.
  bool carrier = true;
  /// False: the port cannot see its interface, which somebody has moved; `carrier` is true then.
  bool carrier_known = true;
  bool pause = false;  ///< mode: true "pause": senders wait for it; false "ethernet"
  /// Whether it receives the frames for all addresses: because it was told to, or because it has
  /// more other addresses than its row in the table has room for.
  bool promiscuous = false;
  /// Unicast addresses beside `mac` whose frames it receives: those that it has learned, and those
  /// of Port::set_other_macs(). The table does not tell which are which.
  std::vector<MacAddress> other_macs;
  /// Where it reads on. A port that is asleep or down has not moved it past frames that came since.
  std::uint64_t position = 0;
  /// How far it is behind: the bytes of the ring that it still has to look at. More than the ring
  /// holds: senders have overwritten the oldest of them. 0 while it is down or asleep.
  std::uint64_t unread_bytes = 0;
  std::uint64_t stalls = 0;           ///< times that senders lost patience with it, and overran it
  std::optional<unsigned> waits_for;  ///< slot of the port that it waits for
  std::optional<std::uint64_t> claim_bytes;  ///< size of a standing claim: others step around it
};

/// The last port of a slot that is free now. Its frames may still be in the ring.
struct FormerPort {
  unsigned slot = 0;                  ///< the slot that is free now
  std::uint32_t incarnation = 0;      ///< as PortInfo::incarnation
  std::string name;                   ///< as PortInfo::name
  MacAddress mac;                     ///< its last address
  LinkKind link = LinkKind::library;  ///< as PortInfo::link
  std::uint64_t tx_frames = 0,        ///< what it sent in all, as in PortCounters
      tx_bytes = 0,                   ///< bytes of these frames
      tx_segments = 0;                ///< the same frames, each super-frame counted as its segments
};

/// Everything `stat` shows. Reading the numbers stops no port. A bus of NetBSD's format has no
/// table of ports, does not number its frames, and does not tell when it was made or who holds its
/// lock: these members are 0 or empty then.
struct BusInfo {
  std::string path;                     ///< as it was opened
  BusFormat format = BusFormat::shmif;  ///< our own, or NetBSD's
  std::uint64_t ring_bytes = 0;         ///< size of the ring; the file is larger
  std::uint32_t mtu = 0,                ///< in bytes of layer 3
      max_record_bytes = 0,  ///< the most that one frame takes in the ring, without record header
      slots = 0;             ///< rows of the port table: how many ports can be attached at a time
  bool carries_offloads = false;       ///< whether frames may leave work to do (FrameView::offload)
  Flow flow = Flow::ethernet;          ///< what senders do about slow ports
  std::uint64_t patience_ns = 0;       ///< how long a sender waits for a port; 0: it does not wait
  std::uint32_t layout_signature = 0;  ///< of its format: folds version, sizes and key offsets
  std::uint64_t device = 0,            ///< of the file that was opened, whatever its header says
      inode = 0;                       ///< of the same file
  /// Device and inode of that file, as /proc/PID/maps names them; empty if /proc cannot be read.
  std::string mapped_as;
  bool is_copy = false;          ///< the header names another file
  std::string file_system;       ///< the name of its type: "tmpfs"
  std::uint64_t created_ns = 0;  ///< wall clock, since the epoch
  std::uint64_t generation = 0,  ///< how many times the ring has wrapped: last / ring_bytes
      first = 0,                 ///< the position where the oldest record begins
      last = 0,                  ///< the position just past the newest record
      frames = 0,  ///< frames sent since the bus was created: the number that the next one gets
      epoch = 0;   ///< grows, by any number, when a repair changes what ports rely on
  std::optional<unsigned> lock_holder;  ///< slot; empty: the lock is free
  std::uint64_t lock_acquisitions = 0,  ///< times that the lock was taken, takeovers included
      takeovers_dead = 0,               ///< times that it was taken from a dead holder
      takeovers_living = 0;  ///< times that it was taken from a living one without progress
  /// The longest time that a waiter saw one holder keep the lock; empty if no wait was long enough
  /// to show it.
  std::optional<std::uint64_t> longest_hold_ns;
  std::uint64_t claims_freed = 0;        ///< claims of dead writers that others freed
  std::uint64_t repairs = 0;             ///< how often it was repaired, also without need
  std::vector<PortInfo> ports;           ///< attached ports by slot, dead ones included
  std::vector<FormerPort> former_ports;  ///< of the slots that are free again, by slot

  /// Values that only a bus of NetBSD's format has.
  struct Netbsd {
    std::uint32_t version = 0;                    ///< 0 until somebody rings first
    bool lock_is_held = false;                    ///< by somebody, at the moment of the look
    std::optional<std::uint64_t> frames_in_ring,  ///< empty: they could not be counted
        bytes_in_ring;                            ///< their bytes, without headers
    std::uint32_t first_offset = 0,               ///< of the oldest frame, as it is in the header
        last_offset = 0;                          ///< of the newest frame, as it is in the header
  };
  std::optional<Netbsd> netbsd;  ///< empty for a bus of our own format
  /// Whether `ports` and `former_ports` say anything. If not, their being empty means nothing.
  bool has_port_table() const noexcept { return format == BusFormat::shmif; }
};

/// One broken invariant: its number in docs/theory-of-operation.md (for NetBSD's format: in
/// bus/netbsd/ring.hpp), and what was seen.
struct AuditFinding {
  std::string invariant;  ///< "I4"
  std::string what;       ///< what was seen, and where
};

/// What Bus::audit() found.
struct AuditReport {
  std::vector<AuditFinding> findings;  ///< the broken invariants
  /// False: a bus of NetBSD's format changed at each look, so nothing was checked.
  bool is_known = true;
  std::uint64_t records = 0,       ///< walked from first to last, pads included
      frames = 0,                  ///< in these records; several frames may share one
      pads = 0;                    ///< records that only lead on
  std::vector<std::string> notes;  ///< worth knowing, but not wrong: standing claims, dead ports
  /// Whether every invariant holds.
  bool clean() const noexcept { return is_known && findings.empty(); }
};

/// What a repair may assume about a bus whose header or ring no longer tells it.
struct RepairOptions {
  /// The MTU of a bus whose header no longer tells it. Empty: use what header and frames say; if
  /// they say nothing, and no port lives, use 1500 or what the largest frame in the ring needs.
  std::optional<std::uint32_t> mtu{};
  /// Also restore the header if only the header or only the ring shows that the file is a bus, or
  /// if the file seems to be a copy, or a bus of another format or another size. On a bus of
  /// NetBSD's format: also free a lock that is held, although its holder may live.
  bool force = false;
};

/// What a repair did. On a bus of NetBSD's format, which has neither ports nor claims, their counts
/// are 0.
struct RepairReport {
  std::vector<std::string> header_restored;  ///< fields, for the user: "magic", "mtu to 1500"
  unsigned ports_freed = 0;                  ///< rows of dead ports
  unsigned claims_cleared = 0;  ///< claims of dead ports, and claims that no port can have made
  bool lock_released = false;   ///< its holder was dead; with NetBSD's format, `force` freed it
  bool ring_rebuilt = false;    ///< the chain of records was written anew
  /// The frames that the rebuilt ring has. 0 if the ring was not rebuilt (but with NetBSD's format,
  /// always the frames in the ring).
  std::uint64_t frames_kept = 0;
  /// BusInfo::epoch after the repair. With NetBSD's format, the generation, by which its readers
  /// notice a repair.
  std::uint64_t epoch = 0;
};

}  // namespace shmif
