#pragma once
// What a descriptor is that another program has given.

#include <cstdint>

namespace shmif::base {

/// One bit each, so that sets of them can be written.
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

/// Asks for nothing but the name and the seals, which the kernel has: a file system of the other
/// program's own (FUSE) may let all other calls wait without end. So it does not tell `pagemap` and
/// `network` from `other`. Threads: safe. Blocks: never.
DescriptorKind kind_of_descriptor(int descriptor) noexcept;

/// Whether it is of one of these kinds. Blocks: for `pagemap` and `network`, until the file system
/// of the descriptor has answered.
bool is_of_kinds(int descriptor, unsigned kinds) noexcept;

}  // namespace shmif::base
