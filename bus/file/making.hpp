#pragma once
// What a bus is made with, and what follows from that. Knows no layout.

#include <cstdint>
#include <string>

#include "bus/info.hpp"
#include "bus/limits.hpp"

namespace shmif::bus {

struct CreateOptions {
  std::uint64_t ring_bytes = kDefaultRingBytes;
  std::uint32_t mtu = 1500;
  std::uint32_t mode = 0600;
  Flow flow = Flow::ethernet;
  std::uint64_t patience_ns = 0;
};

/// Whether a bus of our own format with such a ring and MTU carries super-frames. Threads: any.
/// Blocks: never.
bool carries_super_frames(std::uint64_t ring_bytes, std::uint32_t mtu) noexcept;

/// Why the disk of the file behind `fd` makes a bus slow; empty if it does not. Threads: any.
/// Blocks: for fstatfs(2).
std::string warning_of_disk(int fd, const std::string& path);

}  // namespace shmif::bus
