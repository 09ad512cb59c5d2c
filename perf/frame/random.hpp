#pragma once
// Random: random numbers that can be continued from a seed and a position.

#include <cstdint>
#include <limits>

namespace shmif::perf {

/// SplitMix64 (Steele, Lea, Flood 2014): number i of a stream depends only on the seed and i, so a
/// stream can resume at any position at once. Threads: one at a time.
class Random {
 public:
  using result_type = std::uint64_t;
  static constexpr result_type min() noexcept { return 0; }
  static constexpr result_type max() noexcept { return std::numeric_limits<result_type>::max(); }

  explicit constexpr Random(std::uint64_t seed, std::uint64_t position = 0) noexcept
      : seed_(seed), position_(position) {}

  constexpr std::uint64_t operator()() noexcept { return mix(seed_ + ++position_ * kStep); }

  /// A number below `end`, which is not 0; all are equally likely (Lemire 2019).
  std::uint64_t below(std::uint64_t end) noexcept {
    __extension__ using Wide = unsigned __int128;
    Wide product = Wide{(*this)()} * end;
    if (static_cast<std::uint64_t>(product) < end) {
      // Rejects the 2^64 mod `end` numbers that would make the distribution uneven.
      const std::uint64_t too_many = (0 - end) % end;
      while (static_cast<std::uint64_t>(product) < too_many) product = Wide{(*this)()} * end;
    }
    return static_cast<std::uint64_t>(product >> 64U);
  }

  /// How many numbers have been drawn.
  std::uint64_t position() const noexcept { return position_; }

  /// The seed for part number `number` of something with the seed `seed`.
  static constexpr std::uint64_t derive(std::uint64_t seed, std::uint64_t number) noexcept {
    return mix(seed ^ mix(number + kStep));
  }

 private:
  static constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15;

  static constexpr std::uint64_t mix(std::uint64_t z) noexcept {
    z = (z ^ z >> 30U) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27U) * 0x94d049bb133111eb;
    return z ^ z >> 31U;
  }

  std::uint64_t seed_;
  std::uint64_t position_;
};

}  // namespace shmif::perf
