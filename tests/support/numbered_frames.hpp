#pragma once
// Frames that prove themselves: every byte follows from sender and sequence number, which the first
// 14 bytes carry together with a CRC over the whole frame. So the smallest frame of all can be
// checked too, and a frame that is half one and half another is found out.
//
//   destination 6 | 0x02 | sender 1 | sequence 4 | CRC 2 | pattern of (sender, sequence)
//
// Writers and checkers compute the same pattern; no expected data is kept.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "bus/ring/batch.hpp"
#include "shmif/frame.hpp"
#include "shmif/mac.hpp"

namespace shmif::test {

inline constexpr MacAddress kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

/// CRC-16/CCITT of the header and the length; the pattern is compared byte by byte instead.
constexpr auto kCrcOfByte = [] {
  std::array<std::uint16_t, 256> table{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    unsigned crc = byte << 8U;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 0x8000U) != 0 ? crc << 1U ^ 0x1021U : crc << 1U;
    table[byte] = static_cast<std::uint16_t>(crc);
  }
  return table;
}();
constexpr std::uint16_t header_crc(std::span<const std::byte> bytes, std::size_t size) {
  unsigned crc = 0xffff;
  const auto add = [&](unsigned byte) {
    crc = (crc << 8U ^ kCrcOfByte[(crc >> 8U ^ byte) & 0xffU]) & 0xffffU;
  };
  for (std::size_t i = 0; i < 12; ++i) add(std::to_integer<unsigned>(bytes[i]));
  add(static_cast<unsigned>(size) & 0xffU);
  add(static_cast<unsigned>(size) >> 8U & 0xffU);
  return static_cast<std::uint16_t>(crc);
}

constexpr std::uint64_t pattern_word(std::uint64_t seed, std::size_t i) {
  return (seed + i * 0x9e3779b97f4a7c15U) * 0xbf58476d1ce4e5b9U;
}
constexpr std::uint64_t pattern_seed(unsigned sender, std::uint32_t sequence, std::size_t size) {
  return (std::uint64_t{sender} << 56U ^ std::uint64_t{sequence} << 20U ^ size) *
         0x94d049bb133111ebU;
}

/// Writes a frame of `size` bytes, at least 14, into `to`.
inline void write_numbered(std::span<std::byte> to, std::size_t size, unsigned sender,
                           std::uint32_t sequence, MacAddress destination = kBroadcast) {
  std::memcpy(to.data(), destination.bytes.data(), 6);
  to[6] = std::byte{0x02};
  to[7] = static_cast<std::byte>(sender);
  std::memcpy(to.data() + 8, &sequence, 4);
  const std::uint16_t crc = header_crc(to, size);
  std::memcpy(to.data() + 12, &crc, 2);
  const std::uint64_t seed = pattern_seed(sender, sequence, size);
  std::size_t at = 14;
  for (std::size_t i = 0; at < size; ++i, at += 8) {
    const std::uint64_t word = pattern_word(seed, i);
    std::memcpy(to.data() + at, &word, size - at < 8 ? size - at : 8);
  }
}

struct Numbered {
  unsigned sender;
  std::uint32_t sequence;
};

/// Who sent a frame and which it is; nothing when any byte is not what it must be.
inline std::optional<Numbered> check_numbered(const FrameView& frame) {
  const std::byte* p = frame.bytes.data();
  const std::size_t size = frame.size();
  if (size < 14 || p[6] != std::byte{0x02}) return std::nullopt;
  Numbered n{std::to_integer<unsigned>(p[7]), 0};
  std::memcpy(&n.sequence, p + 8, 4);
  std::uint16_t crc = 0;
  std::memcpy(&crc, p + 12, 2);
  if (crc != header_crc(frame.bytes, size)) return std::nullopt;
  const std::uint64_t seed = pattern_seed(n.sender, n.sequence, size);
  std::size_t at = 14;
  for (std::size_t i = 0; at < size; ++i, at += 8) {
    const std::uint64_t word = pattern_word(seed, i);
    if (std::memcmp(p + at, &word, size - at < 8 ? size - at : 8) != 0) return std::nullopt;
  }
  return n;
}

/// The size of a sender's frame `sequence`: every size from 14 to `largest` once in a round, in an
/// order that mixes them.
constexpr std::size_t size_of(std::uint32_t sequence, std::size_t largest) {
  const std::size_t sizes = largest - 14 + 1;
  std::size_t stride = sizes * 5 / 8;  // made coprime with `sizes`
  const auto gcd = [](std::size_t a, std::size_t b) {
    while (b != 0) {
      const std::size_t t = a % b;
      a = b;
      b = t;
    }
    return a;
  };
  while (stride > 1 && gcd(stride, sizes) != 1) --stride;
  return 14 + sequence % sizes * stride % sizes;
}

/// A batch of numbered frames in one buffer, made anew without allocating.
class NumberedBatch {
 public:
  explicit NumberedBatch(std::size_t largest) : largest_(largest), arena_(kMax * largest) {}
  static constexpr std::size_t kMax = 32;

  std::span<const FrameView> make(unsigned sender, std::uint32_t first, std::size_t count,
                                  MacAddress destination = kBroadcast) {
    for (std::size_t i = 0; i < count; ++i) {
      const auto sequence = static_cast<std::uint32_t>(first + i);
      const std::size_t size = sizes_ != 0 ? sizes_ : stepped(sequence);
      std::span<std::byte> room(arena_.data() + i * largest_, largest_);
      write_numbered(room, size, sender, sequence, destination);
      views_[i] = FrameView(room.first(size));
    }
    return {views_.data(), count};
  }
  /// All frames of one size from now on.
  void fix_size(std::size_t size) { sizes_ = size; }

 private:
  std::size_t stepped(std::uint32_t sequence) {
    if (stride_for_ != largest_) {
      stride_for_ = largest_;
      one_ = size_of(1, largest_) - 14;
    }
    const std::size_t sizes = largest_ - 13;
    return 14 + sequence % sizes * one_ % sizes;
  }
  std::size_t largest_;
  std::vector<std::byte> arena_;
  std::array<FrameView, kMax> views_;
  std::size_t sizes_ = 0;
  std::size_t stride_for_ = 0;
  std::size_t one_ = 0;
};

/// All of `frames` as one batch, planned as a sender does, for tests that append to a ring without
/// a port.
inline bus::Batch plan_batch(std::span<const FrameView> frames) noexcept {
  bus::BatchPlan plan;
  for (std::span<const FrameView> rest = frames; !rest.empty(); rest = rest.subspan(1)) {
    rest = rest.subspan(plan.add_all_alone(rest, SIZE_MAX, UINT64_MAX).frames);
    if (rest.empty()) break;
    plan.add(rest.front(), UINT64_MAX);
  }
  return plan.of(frames);
}

}  // namespace shmif::test
