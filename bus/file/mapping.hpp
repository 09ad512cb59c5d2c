#pragma once
// The bus in memory: header and port table, then the ring twice in a row.
//
//   | guard | header, table | ring | ring again | guard |
//
// The guards are address space that nobody may access, each wider than the largest record. An
// access that runs past the bus ends there, and not in other memory.
//
// Because the ring is there twice, a record that crosses its end is contiguous. This uses plain
// mmap, because a mirrored mapping needs MAP_FIXED over a reservation (docs/decisions.md: why not
// Boost.Interprocess).

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "base/result.hpp"
#include "bus/file/file_id.hpp"
#include "bus/file/sigbus_guard.hpp"
#include "bus/info.hpp"
#include "bus/layout.hpp"

namespace shmif::bus {

class Mapping {
 public:
  Mapping() = default;
  /// Maps the file behind `fd`, whose geometry was checked. The mapping keeps the open file
  /// description alive after `fd` is closed, and with it its F_OFD_SETLK locks. Forked children do
  /// not inherit it (MADV_DONTFORK), and core dumps do not contain it. `read_write` also prefaults
  /// both views for writing. `lock_memory`: as PortOptions::lock_memory. Blocks: for the page
  /// faults.
  static Result<Mapping> map(int fd, std::uint64_t ring_bytes, Access access,
                             bool lock_memory = false);

  Mapping(Mapping&& other) noexcept { *this = std::move(other); }
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      reset();
      base_ = std::exchange(other.base_, nullptr);
      guard_ = std::move(other.guard_);
      ring_bytes_ = std::exchange(other.ring_bytes_, 0);
      file_ = other.file_;
    }
    return *this;
  }
  ~Mapping() { reset(); }

  BusHeader& header() const noexcept { return *reinterpret_cast<BusHeader*>(base_); }
  PortSlot* slots() const noexcept { return reinterpret_cast<PortSlot*>(base_ + kHeaderBytes); }
  std::byte* ring() const noexcept { return base_ + kRingOffset; }
  std::uint64_t ring_bytes() const noexcept { return ring_bytes_; }
  /// The whole mapping: header, table, and the ring twice.
  std::span<std::byte> bytes() const noexcept {
    return {base_, base_ == nullptr ? 0 : kRingOffset + 2 * ring_bytes_};
  }
  /// The mapped file, from the kernel: a peer may overwrite the inode number in the header.
  const FileId& file() const noexcept { return file_; }
  /// Whether the file was truncated below the mapping (known only with install_sigbus_guard).
  bool lost() const noexcept { return guard_ && guard_->lost(); }
  /// Finds out whether the file was truncated; call it if nothing else accesses the mapping for a
  /// while. Reads the file's last byte, but only if a guard is installed to survive that.
  void look_whether_lost() const noexcept;
  void reset() noexcept;
  /// In the child of a fork: forgets the mapping, which does not exist there.
  void forget() noexcept { base_ = nullptr; }

 private:
  std::byte* base_ = nullptr;
  std::unique_ptr<GuardedRange> guard_;
  std::uint64_t ring_bytes_ = 0;
  FileId file_;
};

}  // namespace shmif::bus
