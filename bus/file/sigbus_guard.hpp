#pragma once
// Survives a truncation of the file below a mapping. The next access then raises SIGBUS. If the
// guard is installed, zero pages replace the bus, it is marked lost, and the access continues.

#include <atomic>
#include <cstddef>

namespace shmif::bus {

/// Installs the handler, once per process; an older handler is called for faults outside of any
/// bus. Threads: safe. Result: false when the handler could not be installed.
[[nodiscard]] bool install_sigbus_guard() noexcept;
/// Installs it again, in a forked child that has given all signals their default actions. Threads:
/// the only one. Result: as above.
[[nodiscard]] bool renew_sigbus_guard() noexcept;
/// Threads: safe.
bool sigbus_guard_is_installed() noexcept;

/// A mapping that the guard watches. Threads: safe.
class GuardedRange {
 public:
  /// If there is no memory to remember the range, it is not watched.
  GuardedRange(std::byte* base, std::size_t bytes) noexcept;
  GuardedRange(const GuardedRange&) = delete;
  GuardedRange& operator=(const GuardedRange&) = delete;
  ~GuardedRange();

  bool is_watched() const noexcept { return entry_ != nullptr; }
  bool lost() const noexcept;

  struct Entry;

 private:
  Entry* entry_ = nullptr;
};

}  // namespace shmif::bus
