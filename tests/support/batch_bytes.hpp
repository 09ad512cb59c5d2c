#pragma once
// How much of a ring a batch takes, by the rule of docs/bus-format.md and not by the library's
// code.

#include <cstddef>
#include <cstdint>
#include <span>

#include "bus/frame.hpp"

namespace shmif::test {

/// Bytes of the ring that `frames` take as one batch, without the end of the chain.
inline std::uint64_t batch_bytes(std::span<const FrameView> frames) {
  const auto rounded = [](std::uint64_t bytes, std::uint64_t to) {
    return (bytes + to - 1) / to * to;
  };
  const auto shares = [](const FrameView& frame) {
    return frame.size() <= 512 && !frame.offload.pending();
  };
  const auto entry = [&](const FrameView& frame) { return rounded(4 + frame.size(), 4); };
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < frames.size();) {
    std::uint64_t body = frames[i].size() + (frames[i].offload.pending() ? 12 : 0);
    std::uint64_t together = entry(frames[i]);
    std::size_t next = i + 1;
    while (shares(frames[i]) && next < frames.size() && shares(frames[next]) &&
           32 + together + entry(frames[next]) <= 4096) {
      together += entry(frames[next++]);
    }
    if (next > i + 1) body = together;
    bytes += rounded(32 + body, 32);
    i = next;
  }
  return bytes;
}

}  // namespace shmif::test
