#include "perf/frame/crc32c.hpp"

#include <isa-l/crc.h>

namespace shmif::perf {
namespace {

// Polynomials of degree 31 or less. The highest bit is the lowest power.
constexpr std::uint32_t kPolynomial = 0x82f63b78;  // without its highest power, x^32
constexpr std::uint32_t kOne = 0x80000000;

std::uint32_t times_x(std::uint32_t a) noexcept {
  return (a & 1U) != 0 ? a >> 1U ^ kPolynomial : a >> 1U;
}
std::uint32_t divided_by_x(std::uint32_t a) noexcept {
  return (a & kOne) != 0 ? (a ^ kPolynomial) << 1U | 1U : a << 1U;
}
std::uint32_t product(std::uint32_t a, std::uint32_t b) noexcept {
  std::uint32_t sum = 0;
  for (std::uint32_t bit = kOne; bit != 0; bit >>= 1U, b = times_x(b)) {
    if ((a & bit) != 0) sum ^= b;
  }
  return sum;
}

}  // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before) noexcept {
  // iSCSI has this CRC. The library's signature lacks a const.
  auto* const data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
  return ~crc32_iscsi(data, static_cast<int>(bytes.size()), ~before);
}

Crc32cJoin::Crc32cJoin(std::size_t bytes) noexcept {
  std::uint32_t power = times_x(kOne);
  std::uint32_t factor = kOne;
  for (std::size_t left = bytes * 8; left != 0; left >>= 1U, power = product(power, power)) {
    if ((left & 1U) != 0) factor = product(factor, power);
  }
  for (unsigned i = 0; i < 33; ++i) factor = divided_by_x(factor);
  factor_ = factor;
}

std::uint32_t Crc32cJoin::operator()(std::uint32_t first, std::uint32_t second) const noexcept {
  std::uint32_t moved = product(first, factor_);
  for (unsigned i = 0; i < 33; ++i) moved = times_x(moved);
  return moved ^ second;
}

}  // namespace shmif::perf
