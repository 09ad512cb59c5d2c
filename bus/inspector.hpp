#pragma once
// Inspector: a bus seen from outside, whatever the format of its file.

#include <string>

#include "base/result.hpp"
#include "bus/info.hpp"

namespace shmif::bus {

/// For `stat`, `audit`, `repair` and `destroy`. Only repair disturbs the bus. Threads: const
/// members may run concurrently.
class Inspector {
 public:
  Inspector(const Inspector&) = delete;
  Inspector& operator=(const Inspector&) = delete;
  virtual ~Inspector() = default;

  virtual BusInfo info() const = 0;
  virtual AuditReport audit() const = 0;
  virtual Result<RepairReport> repair(const RepairOptions& options) = 0;
  /// The open file's descriptor, valid for the life of the inspector.
  virtual int descriptor() const noexcept = 0;
  virtual const std::string& path() const noexcept = 0;
  virtual const std::string& warning() const noexcept = 0;
  /// If the file is now on a file system that hides live ports: the name of that file system.
  /// Otherwise empty. The file may have been made elsewhere.
  virtual std::string hidden_by() const = 0;

 protected:
  Inspector() = default;
};

}  // namespace shmif::bus
