#pragma once
// A bus seen from outside: made, looked into, checked, mended, removed. To send and receive on one,
// attach a Port (shmif/port.hpp).

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bus/info.hpp"
#include "bus/result.hpp"
#include "shmif/mac.hpp"

namespace shmif {

struct BusOptions {
  std::uint64_t ring_bytes = 4U << 20U;  ///< a power of two, 64 KiB to 1 GiB
  std::uint32_t mtu = 1500;              ///< layer 3, 68 to 65521
  std::uint32_t mode = 0600;             ///< permission bits of the file, exactly (no umask)
  Flow flow = Flow::ethernet;            ///< what senders do about slow ports
  /// On a bus that pauses, how long a sender waits for a port that does not read; 1 ms to 1 s.
  std::chrono::nanoseconds patience = std::chrono::milliseconds(10);

  /// Whether frames on such a bus may leave work to do (FrameView::offload): its ring holds eight
  /// super-frames.
  bool carries_offloads() const noexcept;
};

enum class Access : std::uint8_t { read_only, read_write };

/// A view on a bus file, without a port on it. Never disturbs the bus.
/// Threads: const members may run at once. Blocks: never for a peer.
class Bus {
 public:
  /// Makes a bus, complete before it has a name. Errors: exists, bad_size, bad_mtu, bad_patience,
  /// ring_too_small, unsupported_file_system, or the system's (a full disk is ENOSPC here, never a
  /// SIGBUS later).
  static Result<void> create(const std::string& path, const BusOptions& options);
  /// Makes the bus unless it exists; of several callers at once one makes it, and the others wait
  /// until it is ready (at most 10 s). An existing bus is refused (geometry_differs) when
  /// `ring_bytes` or `mtu` was asked for and differs; and, in a sticky directory that everybody may
  /// write to, when it is of another user than the caller and the directory's owner
  /// (permission_denied): it may have been put there for the caller to find. So may a hard link to
  /// another bus: where others than the caller and root may write to the directory, a file with
  /// more than one name is refused, too. Result: that bus, for reading. Its path may name another
  /// file at the next look, so attach by Port::attach(bus).
  static Result<Bus> create_if_missing(const std::string& path, const BusOptions& options,
                                       bool ring_bytes_asked, bool mtu_asked);
  /// Opens an existing bus. `read_only` works on a file one may only read.
  static Result<Bus> open(const std::string& path, Access access = Access::read_only);
  /// Removes the file; a warning is logged when it has another name, which stays. Errors, unless
  /// `force`: busy while live ports are attached;
  /// unsupported_file_system where they may look dead.
  static Result<void> destroy(const std::string& path, bool force);

  Bus(Bus&&) noexcept;
  Bus& operator=(Bus&&) noexcept;
  ~Bus();

  BusInfo info() const;
  /// Checks every invariant, changes nothing.
  AuditReport audit() const;
  /// Frees what dead ports hold; with broken invariants also rebuilds the ring, keeping every frame
  /// that can still be proven whole, and starts a new epoch. Errors: read_only.
  Result<RepairReport> repair();
  /// The same for a bus that may not open any more, because the fixed part of its header was
  /// written over: restores that first, where file and ring show that it is a bus of this version,
  /// and what its geometry was. Errors: not_a_bus, wrong_layout, wrong_size, copied_file, corrupt,
  /// bad_mtu, busy (the MTU of living ports); the message says what `options` can do about it.
  static Result<RepairReport> repair(const std::string& path, const RepairOptions& options);
  /// Why what is seen may not be what the ports see: a copy, a file system that shows processes
  /// different data. Empty when all is well.
  std::string warning() const;

 private:
  friend class Port;
  struct Impl;
  explicit Bus(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Keeps a process alive when somebody truncates a bus it has mapped: instead of SIGBUS, the bus
/// reads as zeros and its ports answer Errc::bus_lost. Faults outside of any bus go to the handler
/// that was there before. Threads: safe. Result: false when the handler could not be installed.
[[nodiscard]] bool install_sigbus_guard() noexcept;

}  // namespace shmif
