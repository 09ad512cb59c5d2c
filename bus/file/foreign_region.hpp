#pragma once
// Memory that another program shares by a descriptor: a part of a file, mapped. Nothing in it is
// trusted, and the program may truncate the file at any time.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "bus/file/sigbus_guard.hpp"

namespace shmif::bus {

/// If the file is truncated below the mapping, zero pages replace it, and lost() is true from then
/// on (bus/file/sigbus_guard.hpp, which must be installed). Threads: safe. Blocks: never.
class ForeignRegion {
 public:
  /// Maps `bytes` bytes of `file` from `offset` on; the descriptor may be closed afterwards.
  /// `name`: what messages call it ("memory region 0"). Errors: bad_argument for a file that is not
  /// a memfd or in tmpfs or hugetlbfs, or ends before the region does, an empty region, and one
  /// that does not fit beside what all others of this process have mapped; the system's, if it
  /// cannot be mapped.
  static Result<ForeignRegion> map(int file, std::uint64_t offset, std::uint64_t bytes,
                                   const std::string& name);
  ForeignRegion(ForeignRegion&& other) noexcept;
  ForeignRegion& operator=(ForeignRegion&& other) = delete;
  ForeignRegion(const ForeignRegion&) = delete;
  ForeignRegion& operator=(const ForeignRegion&) = delete;
  ~ForeignRegion();

  /// Result: nullptr if not all of these bytes lie in the region.
  std::byte* at(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    if (offset > bytes_ || bytes > bytes_ - offset) return nullptr;
    return base_ + before_ + offset;
  }
  bool lost() const noexcept { return guard_ != nullptr && guard_->lost(); }

 private:
  ForeignRegion(std::byte* base, std::size_t mapped, std::uint64_t before, std::uint64_t bytes);

  std::byte* base_;
  std::size_t mapped_;    ///< 0: moved from
  std::uint64_t before_;  ///< bytes of the mapping before the region
  std::uint64_t bytes_;
  std::unique_ptr<GuardedRange> guard_;
};

}  // namespace shmif::bus
