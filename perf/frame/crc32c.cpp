#include "perf/frame/crc32c.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__AARCH64EL__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

// All polynomials here are reflected, as in the CRC: the highest bit of a word is the coefficient
// of the lowest power.

namespace shmif::perf {
namespace {

constexpr std::uint32_t kPolynomial = 0x82f63b78;  // Castagnoli's, reflected

/// The remainder after one more zero bit at the end of the message.
constexpr std::uint32_t times_x(std::uint32_t remainder) {
  return remainder >> 1U ^ ((remainder & 1U) != 0 ? kPolynomial : 0U);
}

/// kTables[k][b]: the remainder of byte b followed by k zero bytes.
constexpr auto kTables = [] {
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    std::uint32_t r = b;
    for (int bit = 0; bit < 8; ++bit) r = times_x(r);
    tables[0][b] = r;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t b = 0; b < 256; ++b) {
      const std::uint32_t r = tables[k - 1][b];
      tables[k][b] = r >> 8U ^ tables[0][r & 0xffU];
    }
  }
  return tables;
}();

template <class T>
T load(const std::byte* from) noexcept {
  T value{};
  std::memcpy(&value, from, sizeof value);
  return value;
}
std::uint64_t load_word(const std::byte* from) noexcept {
  auto word = load<std::uint64_t>(from);
  if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
  return word;
}

constexpr std::size_t kWord = sizeof(std::uint64_t);

std::uint32_t by_tables(const std::byte* at, std::size_t size, std::uint32_t crc) noexcept {
  for (; size >= kWord; at += kWord, size -= kWord) {
    const std::uint64_t word = load_word(at) ^ crc;
    crc = 0;
    for (std::size_t k = 0; k < kWord; ++k) crc ^= kTables[7 - k][word >> (8 * k) & 0xffU];
  }
  for (; size > 0; ++at, --size) {
    crc = crc >> 8U ^ kTables[0][(crc ^ std::to_integer<std::uint32_t>(*at)) & 0xffU];
  }
  return crc;
}

#if defined(__x86_64__)

/// Most words in one lane before the lanes are combined.
constexpr std::size_t kLaneWords = 256;
/// The instruction takes three cycles and can start in each cycle, so three lanes keep it busy.
constexpr std::size_t kLanes = 3;
/// For shorter lanes, combining costs more than it saves.
constexpr std::size_t kShortestLane = 8;

/// kBehind[n]: x^(64 n - 33). Multiply it by a remainder and process the product as one more word:
/// the result is that remainder after n more words.
constexpr auto kBehind = [] {
  std::array<std::uint32_t, kLaneWords + 1> powers{};
  std::uint32_t power = 1U << 31U;  // x^0
  for (unsigned i = 0; i < 31; ++i) power = times_x(power);
  for (std::size_t n = 1; n <= kLaneWords; ++n) {
    powers[n] = power;
    for (unsigned i = 0; i < 64; ++i) power = times_x(power);
  }
  return powers;
}();

__attribute__((target("sse4.2,pclmul"))) std::uint64_t move_on(std::uint64_t crc,
                                                               std::size_t words) noexcept {
  const __m128i product =
      _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<long long>(crc)),
                           _mm_cvtsi32_si128(static_cast<int>(kBehind[words])), 0);
  return _mm_crc32_u64(0, static_cast<std::uint64_t>(_mm_cvtsi128_si64(product)));
}

__attribute__((target("sse4.2,pclmul"))) std::uint32_t by_instruction(const std::byte* at,
                                                                      std::size_t size,
                                                                      std::uint32_t crc) noexcept {
  std::uint64_t a = crc;
  while (size >= kLanes * kShortestLane * kWord) {
    const std::size_t words = std::min(size / (kLanes * kWord), kLaneWords);
    const std::size_t lane = words * kWord;
    std::uint64_t b = 0;
    std::uint64_t c = 0;
    for (const std::byte* const end = at + lane; at != end; at += kWord) {
      a = _mm_crc32_u64(a, load_word(at));
      b = _mm_crc32_u64(b, load_word(at + lane));
      c = _mm_crc32_u64(c, load_word(at + 2 * lane));
    }
    a = move_on(move_on(a, words) ^ b, words) ^ c;
    at += 2 * lane;
    size -= kLanes * lane;
  }
  for (; size >= kWord; at += kWord, size -= kWord) a = _mm_crc32_u64(a, load_word(at));
  // The last bytes: each step costs as much as a whole word, so at most three steps.
  auto rest = static_cast<std::uint32_t>(a);
  if ((size & 4U) != 0) {
    rest = _mm_crc32_u32(rest, load<std::uint32_t>(at));
    at += 4;
  }
  if ((size & 2U) != 0) {
    rest = _mm_crc32_u16(rest, load<std::uint16_t>(at));
    at += 2;
  }
  if ((size & 1U) != 0) rest = _mm_crc32_u8(rest, std::to_integer<unsigned char>(*at));
  return rest;
}

bool has_instruction() noexcept {
  return __builtin_cpu_supports("sse4.2") != 0 && __builtin_cpu_supports("pclmul") != 0;
}
constexpr const char* kInstruction = "SSE 4.2";

#elif defined(__AARCH64EL__)

__attribute__((target("+crc"))) std::uint32_t by_instruction(const std::byte* at, std::size_t size,
                                                             std::uint32_t crc) noexcept {
  for (; size >= kWord; at += kWord, size -= kWord) crc = __crc32cd(crc, load_word(at));
  if ((size & 4U) != 0) {
    crc = __crc32cw(crc, load<std::uint32_t>(at));
    at += 4;
  }
  if ((size & 2U) != 0) {
    crc = __crc32ch(crc, load<std::uint16_t>(at));
    at += 2;
  }
  if ((size & 1U) != 0) crc = __crc32cb(crc, std::to_integer<unsigned char>(*at));
  return crc;
}

bool has_instruction() noexcept {
  constexpr unsigned long kCrc32 = 1UL << 7U;  // HWCAP_CRC32
  return (getauxval(AT_HWCAP) & kCrc32) != 0;
}
constexpr const char* kInstruction = "ARMv8 CRC";

#else

std::uint32_t by_instruction(const std::byte* at, std::size_t size, std::uint32_t crc) noexcept {
  return by_tables(at, size, crc);
}
bool has_instruction() noexcept {
  return false;
}
constexpr const char* kInstruction = "";

#endif

const bool kHasInstruction = has_instruction();

}  // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before) noexcept {
  return ~(kHasInstruction ? by_instruction(bytes.data(), bytes.size(), ~before)
                           : by_tables(bytes.data(), bytes.size(), ~before));
}

std::uint32_t crc32c_portable(std::span<const std::byte> bytes, std::uint32_t before) noexcept {
  return ~by_tables(bytes.data(), bytes.size(), ~before);
}

const char* crc32c_means() noexcept {
  return kHasInstruction ? kInstruction : "tables";
}

}  // namespace shmif::perf
