#pragma once
// Finds out the kind of a descriptor that another program has sent.

#include <cstdint>

namespace shmif::base {

/// Each kind is one bit, so that "|" combines them into sets.
enum class DescriptorKind : std::uint8_t {
  other = 0,
  memory = 1,  ///< a memfd, or a file in tmpfs or hugetlbfs
  eventfd = 2,
  pipe = 4,
  unix_socket = 8,
  pagemap = 16,  ///< /proc/PID/pagemap
  network = 32,  ///< a TAP device, or a packet or netlink socket
};

constexpr unsigned operator|(DescriptorKind a, DescriptorKind b) noexcept {
  return static_cast<unsigned>(a) | static_cast<unsigned>(b);
}
constexpr unsigned operator|(unsigned a, DescriptorKind b) noexcept {
  return a | static_cast<unsigned>(b);
}

/// Asks the kernel only for the name and the seals: any other call may wait without end in a file
/// system that the other program runs itself (FUSE). So the result for a `pagemap` or `network`
/// descriptor is `other`. Threads: safe. Blocks: never.
DescriptorKind kind_of_descriptor(int descriptor) noexcept;

/// Whether the descriptor is of one of these kinds. Blocks: for `pagemap` and `network`, until the
/// file system of the descriptor has answered.
bool is_of_kinds(int descriptor, unsigned kinds) noexcept;

}  // namespace shmif::base
