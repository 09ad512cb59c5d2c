#pragma once
// A bus seen from outside, for `stat`, `audit`, `repair` and `destroy`. Only repair disturbs the
// bus.

#include <memory>
#include <string>

#include "base/result.hpp"
#include "bus/file/file.hpp"
#include "bus/info.hpp"

namespace shmif::bus {

class Inspector {
 public:
  /// `writable`: for repair. Without it, a copied file or one on a refused file system is opened
  /// with a warning.
  static Result<Inspector> open(const std::string& path, bool writable);
  /// The same for a file that is already open. `writable`: the file was opened for writing, too.
  static Result<Inspector> open(OpenFile file, const std::string& path, bool writable);
  Inspector(Inspector&&) noexcept;
  Inspector& operator=(Inspector&&) noexcept;
  ~Inspector();

  BusInfo info() const;
  AuditReport audit() const;
  Result<RepairReport> repair();
  /// The open file's descriptor, valid for the life of the inspector.
  int descriptor() const noexcept;
  const std::string& path() const noexcept;
  const std::string& warning() const noexcept;
  /// The name of the file system that the file is on now, if that hides live ports; otherwise
  /// empty. The file may have been made elsewhere.
  std::string hidden_by() const;

 private:
  struct Impl;
  explicit Inspector(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::bus
