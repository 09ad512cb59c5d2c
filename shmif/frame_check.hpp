#pragma once
// Checks which frames a link can take. For code that implements a link.

#include <cstddef>
#include <span>
#include <system_error>

#include "base/error.hpp"
#include "shmif/frame.hpp"

namespace shmif {

/// How many frames at the front have a valid length of at most `largest` bytes. `refused` says why
/// the next frame is not valid.
inline std::size_t count_good(std::span<const FrameView> frames, std::size_t largest,
                              std::error_code& refused) noexcept {
  for (std::size_t good = 0; good < frames.size(); ++good) {
    const std::size_t size = frames[good].size();
    if (size >= kEthernetHeaderBytes && size <= largest) continue;
    refused = size < kEthernetHeaderBytes ? Errc::frame_too_short : Errc::frame_too_long;
    return good;
  }
  return frames.size();
}

}  // namespace shmif
