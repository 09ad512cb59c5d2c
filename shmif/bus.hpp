#pragma once
// A bus seen from outside: create, inspect, check, repair and remove it. To send and receive on a
// bus, attach a Port (shmif/port.hpp).

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "bus/info.hpp"
#include "shmif/mac.hpp"

namespace shmif {

/// A bus of NetBSD's format has one size (1 MiB) and one MTU, and no flow control: leave all
/// members but `mode` and `format` at these defaults. create() refuses other values.
struct BusOptions {
  std::uint64_t ring_bytes = 4U << 20U;  ///< a power of two, 64 KiB to 1 GiB
  std::uint32_t mtu = 1500;              ///< layer 3, 68 to 65521
  std::uint32_t mode = 0600;             ///< 0600 to 0777; the umask is ignored
  Flow flow = Flow::ethernet;            ///< what senders do about slow ports
  /// With Flow::pause: how long a sender waits for a port that has stopped reading; 1 ms to 1 s.
  std::chrono::nanoseconds patience = std::chrono::milliseconds(10);
  BusFormat format = BusFormat::shmif;  ///< our own format, or NetBSD's

  /// Whether such a bus can carry unfinished checksums and super-frames (struct Offload,
  /// bus/frame.hpp, explains them). It can if its ring holds eight super-frames.
  bool carries_offloads() const noexcept;
};

/// A view of a bus file, without a port on the bus. Its const members never disturb the bus. A port
/// is *live* while its process runs and has not detached it. It is *dead* if the process has ended
/// without detaching it. Threads: const members may run concurrently. Blocks: create() and
/// create_if_missing() while the disk space is reserved; create_if_missing() also while another
/// process creates the bus.
class Bus {
 public:
  /// Creates a bus. It appears under its name only when it is complete. Errors: exists, bad_size,
  /// bad_mtu, bad_patience, ring_too_small, unsupported_file_system, or a system error (a full disk
  /// gives ENOSPC here, never a SIGBUS later).
  static Result<void> create(const std::string& path, const BusOptions& options);
  /// Opens the bus, and creates it first if it does not exist. If several callers do so at once,
  /// one creates it and the others wait until it is ready (at most 10 s). If `ring_bytes_asked`, a
  /// bus that exists must have the ring size of `options`; if `mtu_asked`, it must have their MTU.
  /// Errors for a bus that exists:
  ///   - geometry_differs: it has another ring size or MTU than it must have; or
  ///     `options.format` is netbsd, and it has our own format;
  ///   - permission_denied: the directory is sticky and everybody may write to it, and the bus
  ///     belongs neither to the caller nor to the directory's owner. Somebody may have planted it;
  ///   - permission_denied: others than the caller and root may write to the directory, and the
  ///     file has more than one name. It may be a hard link to another bus.
  /// Result: the bus, opened for reading. Port::attach(bus) opens this same file for writing, even
  /// if the path leads to another file by then.
  static Result<Bus> create_if_missing(const std::string& path, const BusOptions& options,
                                       bool ring_bytes_asked, bool mtu_asked);
  /// Opens an existing bus. `read_only` needs only read permission.
  static Result<Bus> open(const std::string& path, Access access = Access::read_only);
  /// Removes the file, and does not wait for ports to leave. If the file has another name, that
  /// name stays and a warning is logged. Errors, unless `force`: busy while live ports are
  /// attached; unsupported_file_system if the file system does not let this process see whether
  /// ports are live; EOPNOTSUPP for a bus of NetBSD's format, which does not show this either.
  static Result<void> destroy(const std::string& path, bool force);

  Bus(Bus&&) noexcept;             ///< the other may then only be assigned to or destroyed
  Bus& operator=(Bus&&) noexcept;  ///< closes the bus that it showed before
  ~Bus();

  /// What the bus file says now. The numbers are read one after another while ports go on, so they
  /// may be of slightly different moments. Blocks: never.
  BusInfo info() const;
  /// Checks every invariant and changes nothing.
  AuditReport audit() const;
  /// Frees what dead ports hold. If invariants are broken, it also rebuilds the ring, keeps every
  /// frame that can still be proven whole, and increases the epoch, a number by which attached
  /// ports notice the repair. Errors: read_only.
  Result<RepairReport> repair();
  /// The same for a bus that may no longer open because the fixed part of its header was
  /// overwritten. It restores that part first. It does so if at least 4 of its 10 fields are still
  /// right, and the frames in the ring lead to one another. `options` can give the MTU, and can say
  /// that one of these conditions is enough. Errors: not_a_bus, wrong_layout, wrong_size,
  /// copied_file, corrupt, bad_mtu, geometry_differs (`options` name another MTU than the header);
  /// the message says which `options` can help.
  static Result<RepairReport> repair(const std::string& path, const RepairOptions& options);
  /// Why this view may differ from what the ports see: the file is a copy, or its file system shows
  /// different data to different processes. Empty if neither is so.
  std::string warning() const;

 private:
  friend class Port;
  int descriptor() const noexcept;
  const std::string& path() const noexcept;
  struct Impl;
  explicit Bus(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Whether the format of a bus tells which ports there are. If not, the error is "cannot `what`
/// PATH: ...", with std::errc::operation_not_supported.
Result<void> check_port_table(const BusInfo& bus, const std::string& what);

/// Lets this process survive when somebody truncates a bus that it has mapped. Without this call,
/// the kernel then ends the process with SIGBUS. With it, the bus reads as zeros and its ports
/// return Errc::bus_lost. Call it once, at the start of the program. The library does not call it;
/// shmifctl and shmifperf do. A SIGBUS for an address outside of every bus goes to the previous
/// handler. Threads: safe. Result: false if the handler could not be installed.
[[nodiscard]] bool install_sigbus_guard() noexcept;

}  // namespace shmif
