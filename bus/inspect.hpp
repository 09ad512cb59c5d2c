#pragma once
// A bus seen from outside: what `stat`, `audit`, `repair` and `destroy` need. Never disturbs the
// bus, but for repair.

#include <memory>
#include <string>

#include "bus/file.hpp"
#include "bus/info.hpp"
#include "bus/result.hpp"

namespace shmif::bus {

class Inspector {
 public:
  /// `writable`: for repair. Read-only, a copied file or one on a refused file system is opened
  /// with a warning.
  static Result<Inspector> open(const std::string& path, bool writable);
  /// The same of a file that is open already. `writable`: the file was opened for writing, too.
  static Result<Inspector> open(OpenFile file, const std::string& path, bool writable);
  Inspector(Inspector&&) noexcept;
  Inspector& operator=(Inspector&&) noexcept;
  ~Inspector();

  BusInfo info() const;
  AuditReport audit() const;
  Result<RepairReport> repair();
  /// Of the open file, for the life of the inspector.
  int descriptor() const noexcept;
  const std::string& path() const noexcept;
  const std::string& warning() const noexcept;
  /// Where the file is now, which may not be where it was made: the name of a file system that
  /// hides live ports; empty on others.
  std::string hidden_by() const;

 private:
  struct Impl;
  explicit Inspector(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::bus
