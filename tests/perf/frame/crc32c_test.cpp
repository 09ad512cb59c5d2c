#include "perf/frame/crc32c.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include "perf/frame/crc32c_cpu.hpp"

namespace shmif::perf {
namespace {

std::vector<std::byte> random_bytes(std::size_t size) {
  std::mt19937_64 random(size);
  std::vector<std::byte> bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

/// By the definition, a bit at a time.
std::uint32_t plain(std::span<const std::byte> bytes) {
  std::uint32_t crc = ~0U;
  for (const std::byte b : bytes) {
    crc ^= std::to_integer<std::uint32_t>(b);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1U ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
  }
  return ~crc;
}

/// The CRC of both byte strings, by instructions of this CPU if it has them.
SHMIF_CRC32C_BY_CPU std::uint32_t by_cpu(const Crc32cJoin& join, std::span<const std::byte> front,
                                         std::span<const std::byte> back) {
  if (!crc32c_cpu::is_there()) return join(crc32c(front), crc32c(back));
  crc32c_cpu::Sum sum;
  std::size_t at = 0;
  const auto next = [&](auto value) {
    std::memcpy(&value, &front[at], sizeof value);
    at += sizeof value;
    return value;
  };
  while (front.size() - at >= 15) {
    sum.add(next(std::uint64_t{}));
    sum.add(next(std::uint32_t{}));
    sum.add(next(std::uint16_t{}));
    sum.add(next(std::uint8_t{}));
  }
  while (at < front.size()) sum.add(next(std::uint8_t{}));
  return crc32c_cpu::join(join, sum.crc(), crc32c(back));
}

TEST(Crc32c, IsThatOfRfc3720) {
  std::vector<std::byte> bytes(32, std::byte{0});
  EXPECT_EQ(crc32c(bytes), 0x8a9136aaU);
  bytes.assign(32, std::byte{0xff});
  EXPECT_EQ(crc32c(bytes), 0x62a8ab43U);
  for (std::size_t i = 0; i < 32; ++i) bytes[i] = static_cast<std::byte>(i);
  EXPECT_EQ(crc32c(bytes), 0x46dd794eU);
  for (std::size_t i = 0; i < 32; ++i) bytes[i] = static_cast<std::byte>(31 - i);
  EXPECT_EQ(crc32c(bytes), 0x113fdb5cU);
  EXPECT_EQ(crc32c(std::as_bytes(std::span(std::string_view("123456789")))), 0xe3069283U);
  EXPECT_EQ(crc32c({}), 0U);
}

TEST(Crc32c, IsThatOfItsDefinitionForEveryLengthOfAFrameAtEveryAlignment) {
  const std::vector<std::byte> bytes = random_bytes(9100);
  for (std::size_t size = 0; size <= 1600; ++size) {
    const auto part = std::span(bytes).subspan(size % 9, size);
    ASSERT_EQ(crc32c(part), plain(part)) << size;
  }
  for (const std::size_t size : {4095U, 4096U, 6143U, 6144U, 6145U, 9018U}) {
    const auto part = std::span(bytes).first(size);
    ASSERT_EQ(crc32c(part), plain(part)) << size;
  }
}

TEST(Crc32c, OfTwoTextsIsJoinedFromThatOfEach) {
  const std::vector<std::byte> bytes = random_bytes(9100);
  for (std::size_t size = 0; size <= 1600; ++size) {
    const auto front = std::span(bytes).first(50 + size % 7);
    const auto back = std::span(bytes).subspan(front.size(), size);
    const std::uint32_t whole = crc32c(std::span(bytes).first(front.size() + size));
    const Crc32cJoin join(size);
    ASSERT_EQ(join(crc32c(front), crc32c(back)), whole) << size;
    ASSERT_EQ(by_cpu(join, front, back), whole) << size;
  }
  const auto front = std::span(bytes).first(100);
  const auto back = std::span(bytes).subspan(100);
  EXPECT_EQ(Crc32cJoin(9000)(crc32c(front), crc32c(back)), crc32c(bytes));
}

}  // namespace
}  // namespace shmif::perf
