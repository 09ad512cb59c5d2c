#pragma once
// The memory of a virtual machine, as its front-end shares it: regions of files. Each region has an
// address that the machine knows, and another one that the front-end knows.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/foreign/foreign.hpp"
#include "vhost/message.hpp"

namespace shmif::vhost {

/// Do not trust its contents: the machine writes there at any time, and the front-end may truncate
/// the files. If it does, zero pages replace the region (bus/file/sigbus_guard.hpp), and lost() is
/// true from then on. Threads: safe, except for moves. Blocks: never.
class GuestMemory {
 public:
  /// Memory without a region.
  GuestMemory() noexcept;
  /// Maps each region from the descriptor with the same index. The descriptor may be closed
  /// afterwards. `most`: limit for the bytes of all regions together. Errors: bad_argument for more
  /// bytes, more than kMaxRegions regions, more or fewer descriptors than regions, regions that
  /// overlap, wrap around or are empty, a file that is not a memfd or in tmpfs or hugetlbfs, and a
  /// file that ends before the region does; an errno, if it cannot be mapped.
  static Result<GuestMemory> map(std::span<const MemoryRegion> regions,
                                 std::span<const UniqueFd> descriptors,
                                 std::uint64_t most = kMaxForeignBytes);
  GuestMemory(GuestMemory&&) noexcept;
  GuestMemory& operator=(GuestMemory&&) noexcept;
  ~GuestMemory();

  /// Translates an address of the machine into one of this process. Result: nullptr unless all of
  /// the bytes lie in one region.
  std::byte* at_guest(std::uint64_t address, std::uint64_t bytes) const noexcept;
  /// The same for an address of the front-end.
  std::byte* at_user(std::uint64_t address, std::uint64_t bytes) const noexcept;
  /// Whether a file was truncated below its mapping. Bytes that were read may then be zeros.
  bool lost() const noexcept;

 private:
  class Mapping;
  std::vector<std::unique_ptr<Mapping>> mappings_;
};

}  // namespace shmif::vhost
