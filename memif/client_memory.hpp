#pragma once
// The memory of a client: regions of files. The descriptors of buffers name a region by its number.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.hpp"
#include "shmif/foreign/foreign.hpp"

namespace shmif::memif {

/// Do not trust its contents: the client writes there at any time, and may truncate the files. If
/// it does, zero pages replace the region, and lost() is true from then on. Threads: one at a time.
/// Blocks: never.
class ClientMemory {
 public:
  /// `most`: limit for the bytes of all regions together.
  explicit ClientMemory(std::uint64_t most) noexcept : most_(most) {}
  /// Maps the next region from the beginning of a file, which may be closed afterwards. Errors:
  /// bad_argument for more bytes than the client may have, and the errors of
  /// ForeignRegion::map().
  Result<void> add(int file, std::uint64_t bytes);
  std::size_t regions() const noexcept { return regions_.size(); }

  /// Result: nullptr unless there is such a region, and all of the bytes lie in it.
  std::byte* at(std::size_t region, std::uint64_t offset, std::uint64_t bytes) const noexcept {
    return region < regions_.size() ? regions_[region].at(offset, bytes) : nullptr;
  }
  bool lost() const noexcept;

 private:
  std::uint64_t most_;
  std::uint64_t bytes_ = 0;  ///< of all regions
  std::vector<ForeignRegion> regions_;
};

}  // namespace shmif::memif
