#pragma once
// Memory that another program shares by a descriptor: a mapped part of a file. Its contents are not
// trusted, and the program may truncate the file at any time.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "bus/file/sigbus_guard.hpp"

namespace shmif {

/// At most this much memory is mapped for all programs of one bridge together. Otherwise files
/// without pages could use up its address space. No machine has that much memory.
inline constexpr std::uint64_t kMaxForeignBytes = std::uint64_t{32} << 40U;

/// Errors: bad_argument, with both numbers, if a program asks for more than `most` bytes.
Result<void> check_foreign_bytes(std::uint64_t asked, std::uint64_t most);

/// If the file is truncated below the mapping, zero pages replace it, and lost() is true from then
/// on (bus/file/sigbus_guard.hpp, which must be installed). Threads: safe. Blocks: never.
class ForeignRegion {
 public:
  /// Maps `bytes` bytes of `file` from `offset` on; the descriptor may be closed afterwards.
  /// `name`: what messages call it ("memory region 0"). Forked children do not inherit the mapping.
  /// Errors: bad_argument if the file is not a memfd and not in tmpfs or hugetlbfs, if it ends
  /// before the region does, or if the region is empty; an errno, if it cannot be mapped.
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
  std::unique_ptr<bus::GuardedRange> guard_;
};

}  // namespace shmif
