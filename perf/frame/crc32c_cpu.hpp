#pragma once
// CRC-32C by instructions of the CPU, inlined into loops over the frames of a batch. Calls to the
// library for each part of a small frame take longer than all else that is done to that frame, and
// keep the CPU from working on two frames at once. Call functions that use this file only if
// is_there(). Internal to perf/frame.

#include <cstdint>
#include <span>

#include "perf/frame/crc32c.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

namespace shmif::perf::crc32c_cpu {

inline bool is_there() noexcept {
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

/// A CRC to which more bytes can be added.
class Sum {
 public:
  explicit Sum(std::uint32_t before = 0) noexcept : state_(~before) {}
  SHMIF_CRC32C_BY_CPU void add(std::uint64_t bytes) noexcept {
    state_ = static_cast<std::uint32_t>(_mm_crc32_u64(state_, bytes));
  }
  SHMIF_CRC32C_BY_CPU void add(std::uint32_t bytes) noexcept {
    state_ = _mm_crc32_u32(state_, bytes);
  }
  SHMIF_CRC32C_BY_CPU void add(std::uint16_t bytes) noexcept {
    state_ = _mm_crc32_u16(state_, bytes);
  }
  SHMIF_CRC32C_BY_CPU void add(std::uint8_t byte) noexcept { state_ = _mm_crc32_u8(state_, byte); }
  std::uint32_t crc() const noexcept { return ~state_; }

 private:
  std::uint32_t state_;
};

/// As Crc32cJoin. The instruction that adds eight bytes to a CRC also reduces a product.
SHMIF_CRC32C_BY_CPU inline std::uint32_t join(const Crc32cJoin& with, std::uint32_t first,
                                              std::uint32_t second) noexcept {
  const auto wide = [](std::uint32_t value) { return _mm_cvtsi32_si128(static_cast<int>(value)); };
  const __m128i product = _mm_clmulepi64_si128(wide(first), wide(with.factor()), 0);
  const auto low = static_cast<std::uint64_t>(_mm_cvtsi128_si64(product));
  return static_cast<std::uint32_t>(_mm_crc32_u64(0, low)) ^ second;
}

}  // namespace shmif::perf::crc32c_cpu

#else

namespace shmif::perf::crc32c_cpu {

/// On other CPUs, frames are made and read one by one.
constexpr bool is_there() noexcept {
  return false;
}

class Sum {
 public:
  explicit Sum(std::uint32_t before = 0) noexcept : crc_(before) {}
  template <class T>
  void add(T bytes) noexcept {
    crc_ = crc32c(std::as_bytes(std::span(&bytes, 1)), crc_);
  }
  std::uint32_t crc() const noexcept { return crc_; }

 private:
  std::uint32_t crc_;
};

inline std::uint32_t join(const Crc32cJoin& with, std::uint32_t first,
                          std::uint32_t second) noexcept {
  return with(first, second);
}

}  // namespace shmif::perf::crc32c_cpu

#endif
