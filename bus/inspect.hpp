#pragma once
// A bus seen from outside: what `stat`, `audit`, `repair` and `destroy` need. Never disturbs the
// bus, but for repair.

#include <memory>
#include <string>

#include "bus/info.hpp"
#include "bus/result.hpp"

namespace shmif::bus {

class Inspector {
 public:
  /// `writable`: for repair. Read-only, a copied file or one on a refused file system is opened
  /// with a warning.
  static Result<Inspector> open(const std::string& path, bool writable);
  Inspector(Inspector&&) noexcept;
  Inspector& operator=(Inspector&&) noexcept;
  ~Inspector();

  BusInfo info() const;
  AuditReport audit() const;
  Result<RepairReport> repair();
  const std::string& warning() const noexcept;

 private:
  struct Impl;
  explicit Inspector(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Removes the file at `path`, which must be a bus. Errors: busy while live ports are attached,
/// unless `force`; `force` also removes a bus that is damaged or of another format.
Result<void> destroy(const std::string& path, bool force);

}  // namespace shmif::bus
