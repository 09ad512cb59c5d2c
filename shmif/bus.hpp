#pragma once
// A bus seen from outside: made, looked into, checked, mended, removed. To send and receive on one,
// attach a Port (shmif/port.hpp).

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bus/result.hpp"
#include "shmif/mac.hpp"

namespace shmif {

struct BusOptions {
  std::uint64_t ring_bytes = 4U << 20U;  ///< a power of two, 64 KiB to 1 GiB
  std::uint32_t mtu = 1500;              ///< layer 3, 68 to 65521
  std::uint32_t mode = 0600;             ///< permission bits of the file, exactly (no umask)
};

/// What a port is, for whoever looks at the bus; `stat` prints the name.
enum class LinkKind : std::uint8_t { library, tap, veth, packet, dump, inject, ping, bridge, pcap };
/// "library", "tap", ...
const char* to_string(LinkKind kind) noexcept;

/// One row of the port table.
struct PortInfo {
  unsigned slot = 0;
  std::string name;
  bool live = false;  ///< false: its process is gone; the next attach or `repair` frees the slot
  std::int32_t pid = 0;  ///< in the pid namespace of its own process
  MacAddress mac;
  LinkKind link = LinkKind::library;
  bool up = false;
  bool pause = false;  ///< mode: false "ethernet", true "pause"
  bool promiscuous = false;
  std::uint64_t tx_frames = 0, tx_bytes = 0, rx_frames = 0, rx_bytes = 0;
  std::uint64_t own_frames = 0, filtered_frames = 0, skipped_frames = 0;
  std::uint64_t overruns = 0, lost_frames = 0, lost_bytes = 0, corrupt = 0;
  std::uint64_t wakeups = 0, doorbells = 0, lock_sleeps = 0;
  std::optional<std::uint64_t> claim_bytes;  ///< a claim that stands: others step around it
};

/// Everything `stat` shows. Numbers are one moment's, read without stopping anybody.
struct BusInfo {
  std::string path;
  std::uint64_t ring_bytes = 0;
  std::uint32_t mtu = 0, max_record_bytes = 0, slots = 0;
  std::uint32_t layout_signature = 0;
  std::uint64_t inode = 0;
  std::string file_system;
  std::uint64_t created_ns = 0;
  std::uint64_t generation = 0, first = 0, last = 0, frames = 0, epoch = 0;
  std::optional<unsigned> lock_holder;  ///< slot; nothing: the lock is free
  std::uint64_t lock_acquisitions = 0, takeovers_dead = 0, takeovers_living = 0;
  std::vector<PortInfo> ports;
};

/// One broken invariant: its number in docs/theory-of-operation.md and what was seen.
struct AuditFinding {
  std::string invariant;  ///< "I4"
  std::string what;
};

struct AuditReport {
  std::vector<AuditFinding> findings;
  std::uint64_t records = 0, frames = 0, pads = 0;  ///< walked from first to last
  std::vector<std::string> notes;  ///< worth knowing, not wrong: claims that stand, dead ports
  bool clean() const noexcept { return findings.empty(); }
};

struct RepairReport {
  unsigned ports_freed = 0;
  unsigned claims_cleared = 0;
  bool lock_released = false;
  bool ring_rebuilt = false;
  std::uint64_t frames_kept = 0;
  std::uint64_t epoch = 0;
};

enum class Access : std::uint8_t { read_only, read_write };

/// A view on a bus file, without a port on it. Never disturbs the bus.
/// Threads: const members may run at once. Blocks: never for a peer.
class Bus {
 public:
  /// Makes a bus, complete before it has a name. Errors: exists, bad_size, bad_mtu, ring_too_small,
  /// unsupported_file_system, or the system's (a full disk is ENOSPC here, never a SIGBUS later).
  static Result<void> create(const std::string& path, const BusOptions& options);
  /// Makes the bus unless it exists; of several callers at once one makes it, and the others wait until
  /// it is ready (at most 10 s). An existing bus is refused (geometry_differs) when `ring_bytes` or `mtu`
  /// was asked for and differs.
  static Result<void> create_if_missing(const std::string& path, const BusOptions& options,
                                        bool ring_bytes_asked, bool mtu_asked);
  /// Opens an existing bus. `read_only` works on a file one may only read.
  static Result<Bus> open(const std::string& path, Access access = Access::read_only);
  /// Removes the file. Errors: busy while live ports are attached, unless `force`.
  static Result<void> destroy(const std::string& path, bool force);

  Bus(Bus&&) noexcept;
  Bus& operator=(Bus&&) noexcept;
  ~Bus();

  BusInfo info() const;
  /// Checks every invariant, changes nothing.
  AuditReport audit() const;
  /// Frees what dead ports hold; with broken invariants also rebuilds the ring, keeping every frame that
  /// can still be proven whole, and starts a new epoch. Errors: read_only.
  Result<RepairReport> repair();
  /// Why this bus deserves a warning ("not on tmpfs: ..."), empty when it does not.
  std::string warning() const;

 private:
  struct Impl;
  explicit Bus(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif
