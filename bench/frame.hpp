#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace shmif::bench {

/// Makes a broadcast frame of `bytes` bytes, without FCS.
std::vector<std::byte> make_frame(std::size_t bytes);

/// Loads a byte of each cache line, like a program that reads the frame. It must not be empty.
inline void look_at(std::span<const std::byte> frame) noexcept {
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= frame.size(); at += 64) {
    std::uint64_t word = 0;
    std::memcpy(&word, frame.data() + at, sizeof word);
    asm volatile("" : : "r"(word));
  }
  asm volatile("" : : "r"(static_cast<unsigned>(frame.back())));
}

}  // namespace shmif::bench
