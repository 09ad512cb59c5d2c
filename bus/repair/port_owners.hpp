#pragma once
// Decides which process has a port. Everything that acts on a process because of the port table
// (a signal, an entered namespace, a directory that its environment names) asks here.
//
// The pid in the port table is a claim: every writer of the bus can change it, the port may be
// dead, another process may have the number by now, and a process in another pid namespace wrote
// the number that it has there. A claim is proven as follows:
//
// O1  The slot's byte is locked: the port is live (bus/file/liveness.hpp).
// O2  A pidfd holds the process. It still runs after its mappings were read, so they are its own.
// O3  The process has the page that keeps such a lock (bus/file/liveness.hpp) of this very file.
// O4  The process has a nameplate for this very file, the slot and the name in it
//     (bus/file/liveness.hpp). A nameplate without a device, as older libraries put up, proves
//     nothing: two tmpfs can have files with the same inode number.
// O5  A process without any nameplate for this file has attached with a library that makes
//     no nameplates, or memfd_create failed there. It must be a process of the calling user other
//     than pid 1, and have a page as in O3 for each live row that names it.
//
// A writer of the bus cannot bring about O3 or O4 in somebody else's process. Under O5, a writer
// can exchange only processes that one user has on the bus.

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "bus/file/file_id.hpp"
#include "bus/info.hpp"

namespace shmif::bus {

/// The process that has a port. The pidfd holds it, so it is never a later process with the same
/// pid. Threads: one at a time. Blocks: never.
class PortOwner {
 public:
  PortOwner(pid_t pid, UniqueFd process) noexcept : pid_(pid), process_(std::move(process)) {}

  /// The pidfd: readable when the process has ended.
  int descriptor() const noexcept { return process_.get(); }
  bool has_ended() const noexcept;
  /// Sends a signal; does nothing if the process has ended. Errors: EPERM for another user's
  /// process; bad_argument for pid 1 and for the calling process.
  Result<void> signal(int number) const;

 private:
  pid_t pid_;
  UniqueFd process_;
};

/// The owners of the ports of one bus, as they are now. Reads each process once. Threads: one at a
/// time. Blocks: while a process changes its mappings; reads at most kMaxBytes of the mappings of
/// each process and kMaxBytesInAll of all, and begins no read after kMaxTime.
class PortOwners {
 public:
  static constexpr std::size_t kMaxBytes = std::size_t{4} << 20U;
  static constexpr std::size_t kMaxBytesInAll = std::size_t{32} << 20U;
  static constexpr std::chrono::seconds kMaxTime{2};

  /// `bus` must outlive this object. `proc`: where the kernel's files about processes are.
  explicit PortOwners(const BusInfo& bus, std::string proc = "/proc");
  PortOwners(const PortOwners&) = delete;
  PortOwners& operator=(const PortOwners&) = delete;
  ~PortOwners();

  /// The process that has `port`, a row of this bus. Errors: ESRCH if it has ended, or the number
  /// is not that of a process with this port; EPERM if its mappings cannot be read; E2BIG if it has
  /// too many of them. The message is the reason, as half a sentence.
  Result<PortOwner> owner_of(const PortInfo& port);
  /// Whether the claim of `port` is proven, as for owner_of(). Errors: the same.
  Result<void> prove(const PortInfo& port);

 private:
  struct Claimant;
  Claimant& claimant(pid_t pid);
  void look_at(Claimant& it);
  bool read_mappings(Claimant& it, int file);

  const BusInfo& bus_;
  FileId file_;
  std::string proc_;
  std::chrono::steady_clock::time_point deadline_;
  std::size_t bytes_read_ = 0;
  std::map<pid_t, std::unique_ptr<Claimant>> known_;
};

}  // namespace shmif::bus
