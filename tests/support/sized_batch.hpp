#pragma once
// Batches of numbered frames whose sizes and destinations the test chooses, one by one.

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "tests/support/numbered_frames.hpp"

namespace shmif::test {

class SizedBatch {
 public:
  /// Frames of these sizes, numbered from `first` on. `to`: their destinations, in turns.
  std::span<FrameView> make(unsigned sender, std::uint32_t first,
                            std::span<const std::size_t> sizes,
                            std::span<const MacAddress> to = {&kBroadcast, 1}) {
    std::size_t bytes = 0;
    for (const std::size_t size : sizes) bytes += size;
    arena_.resize(bytes);
    views_.clear();
    std::size_t at = 0;
    for (std::size_t i = 0; i < sizes.size(); at += sizes[i++]) {
      const std::span<std::byte> room = std::span(arena_).subspan(at, sizes[i]);
      write_numbered(room, sizes[i], sender, static_cast<std::uint32_t>(first + i),
                     to[i % to.size()]);
      views_.emplace_back(room);
    }
    return views_;
  }
  std::span<FrameView> make(unsigned sender, std::uint32_t first,
                            std::initializer_list<std::size_t> sizes) {
    return make(sender, first, std::span(sizes.begin(), sizes.size()));
  }
  /// `count` frames of one size.
  std::span<FrameView> make_equal(unsigned sender, std::uint32_t first, std::size_t count,
                                  std::size_t size,
                                  std::span<const MacAddress> to = {&kBroadcast, 1}) {
    return make(sender, first, std::vector<std::size_t>(count, size), to);
  }

 private:
  std::vector<std::byte> arena_;
  std::vector<FrameView> views_;
};

/// The sequence numbers of frames that are whole.
inline std::vector<std::uint32_t> whole_sequences(const FrameBatch& batch) {
  std::vector<std::uint32_t> out;
  for (const FrameView& frame : batch.frames()) {
    if (const auto n = check_numbered(frame)) out.push_back(n->sequence);
  }
  return out;
}

/// The numbers from `from` up to, but not including, `to`.
inline std::vector<std::uint32_t> numbers(std::uint32_t from, std::uint32_t to) {
  std::vector<std::uint32_t> all;
  for (; from < to; ++from) all.push_back(from);
  return all;
}

}  // namespace shmif::test
