#pragma once
// A NetBSD bus, seen from outside: `stat`, `audit`, `repair`.

#include <memory>
#include <string>

#include "bus/file/file.hpp"
#include "bus/inspector.hpp"
#include "bus/netbsd/file.hpp"
#include "bus/netbsd/ring.hpp"

namespace shmif::bus {

class NetbsdInspector final : public Inspector {
 public:
  /// `file` was checked. `access`: as it was opened; repair needs read_write.
  static Result<std::unique_ptr<Inspector>> open(OpenFile file, const std::string& path,
                                                 Access access);

  BusInfo info() const override;
  /// Findings have the numbers of bus/netbsd/ring.hpp. Blocks: for a second while the lock is held.
  AuditReport audit() const override;
  /// Makes a broken chain sound: keeps the frames that lead to one another from `first` on. Errors:
  /// lock_held, read_only; corrupt if a process keeps overwriting the bus. With `force`, frees a
  /// lock that is held, and drops the newest frame, because its sender may not have written all of
  /// it. Blocks: for up to 10 s while others hold the lock.
  Result<RepairReport> repair(const RepairOptions& options) override;
  int descriptor() const noexcept override { return file_.fd.get(); }
  const std::string& path() const noexcept override { return path_; }
  const std::string& warning() const noexcept override { return file_.warning; }
  std::string hidden_by() const override;

 private:
  NetbsdInspector(OpenFile file, std::string path, Access access, NetbsdMapping mapping);
  NetbsdLook look_patiently(NetbsdState& state) const;

  std::string path_;
  OpenFile file_;
  Access access_;
  NetbsdMapping mapping_;
  NetbsdRing ring_;
};

}  // namespace shmif::bus
