#pragma once
// What a descriptor is that another program has given.

#include <cstdint>

namespace shmif::base {

enum class DescriptorKind : std::uint8_t { eventfd, pipe, unix_socket, other };

/// Asks for nothing but the name, which the kernel has: a file system of the other program's own
/// (FUSE) may let all other calls wait without end. Threads: safe. Blocks: never.
DescriptorKind kind_of_descriptor(int descriptor) noexcept;

}  // namespace shmif::base
