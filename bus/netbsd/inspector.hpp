#pragma once
// A NetBSD bus, seen from outside: `stat`, `audit`, `repair`.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bus/attachment.hpp"
#include "bus/file/file.hpp"
#include "bus/netbsd/file.hpp"
#include "bus/netbsd/ring.hpp"

namespace shmif::bus {

class NetbsdInspector final : public Inspector {
 public:
  /// `file` was checked. `access`: as it was opened; repair needs read_write.
  static Result<std::unique_ptr<Inspector>> open(OpenFile file, const std::string& path,
                                                 Access access);

  BusInfo info() const override;
  /// Findings have the numbers of bus/netbsd/ring.hpp. While the lock is stuck, that is the only
  /// finding: the rest may be in the middle of a change. Blocks: for a second if the lock is stuck,
  /// for up to 10 s while others hold it.
  AuditReport audit() const override;
  /// Makes a broken chain sound, as rebuild_netbsd_chain() does. Errors: lock_held, read_only;
  /// corrupt if a process keeps overwriting the bus. With `force`, frees a lock that is held, and
  /// drops the newest frame, because its sender may not have written all of it. Blocks: as audit().
  Result<RepairReport> repair(const RepairOptions& options) override;
  int descriptor() const noexcept override { return file_.fd.get(); }
  const std::string& path() const noexcept override { return path_; }
  const std::string& warning() const noexcept override { return file_.warning; }
  std::string hidden_by() const override;

 private:
  NetbsdInspector(OpenFile file, std::string path, Access access, NetbsdMapping mapping);
  /// A copy of the file, whole from `state.first` to `state.end`.
  struct NetbsdCopy {
    std::vector<std::byte> file;
    NetbsdState state;
  };
  std::optional<NetbsdLook> see(NetbsdCopy& copy, bool is_patient) const;

  std::string path_;
  OpenFile file_;
  Access access_;
  NetbsdMapping mapping_;
  NetbsdRing ring_;
};

}  // namespace shmif::bus
