#pragma once
// The memory of a virtual machine, as its front-end shares it: regions of files, each at an address
// that the machine knows and at one that the front-end knows.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "bus/file/foreign_region.hpp"
#include "vhost/message.hpp"

namespace shmif::vhost {

/// Nothing in it is trusted: the machine writes there at any time, and the front-end may truncate
/// the files. If it does, zero pages replace the region (bus/file/sigbus_guard.hpp), and lost() is
/// true from then on. Threads: safe, but for moves. Blocks: never.
class GuestMemory {
 public:
  /// Memory without a region.
  GuestMemory() noexcept;
  /// Maps each region from the descriptor of the same number, which may be closed afterwards.
  /// `most`: bytes of all regions. Errors: bad_argument for more bytes, another number of
  /// descriptors than of regions, more than kMaxRegions, regions that overlap, wrap around or are
  /// empty, a file that is not a memfd or in tmpfs or hugetlbfs, and one that ends before the
  /// region does; the system's, if it cannot be mapped.
  static Result<GuestMemory> map(std::span<const MemoryRegion> regions,
                                 std::span<const UniqueFd> descriptors,
                                 std::uint64_t most = bus::kMaxForeignBytes);
  GuestMemory(GuestMemory&&) noexcept;
  GuestMemory& operator=(GuestMemory&&) noexcept;
  ~GuestMemory();

  /// Where the machine's address is in this process. Result: nullptr unless all of the bytes lie in
  /// one region.
  std::byte* at_guest(std::uint64_t address, std::uint64_t bytes) const noexcept;
  /// The same for an address of the front-end.
  std::byte* at_user(std::uint64_t address, std::uint64_t bytes) const noexcept;
  /// Whether a file was shortened below its mapping, so that what was read may be zeros.
  bool lost() const noexcept;

 private:
  class Mapping;
  std::vector<std::unique_ptr<Mapping>> mappings_;
};

}  // namespace shmif::vhost
