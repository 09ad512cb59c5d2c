// Which sizes, MTUs and patiences a bus may have: both sides of each limit, and what is said of it.

#include "bus/file/geometry.hpp"

#include <gtest/gtest.h>

#include <string>

namespace shmif::bus {
namespace {

constexpr std::uint64_t kLarge = 1U << 20U;

TEST(Geometry, OfARingIsAPowerOfTwoFrom64KTo1G) {
  for (std::uint64_t bytes = kMinRingBytes; bytes <= kMaxRingBytes; bytes *= 2) {
    EXPECT_TRUE(check_geometry(bytes, 1500)) << bytes;
    EXPECT_EQ(check_geometry(bytes + 1, 1500).error().code, Errc::bad_size) << bytes;
  }
  for (const std::uint64_t bytes : {std::uint64_t{0}, kMinRingBytes / 2, kMaxRingBytes * 2}) {
    EXPECT_EQ(check_geometry(bytes, 1500).error().code, Errc::bad_size) << bytes;
  }
}

TEST(Geometry, OfAnMtuLiesBetweenItsLimits) {
  for (const std::uint32_t mtu : {68U, 65521U}) EXPECT_TRUE(check_geometry(kLarge, mtu)) << mtu;
  for (const std::uint32_t mtu : {0U, 67U, 65522U, UINT32_MAX}) {
    const auto refused = check_geometry(kLarge, mtu);
    ASSERT_FALSE(refused) << mtu;
    EXPECT_EQ(refused.error().code, Errc::bad_mtu);
    EXPECT_NE(refused.error().message.find("an MTU of " + std::to_string(mtu) + " "),
              std::string::npos);
  }
}

/// For every size of a ring: the largest MTU that it has room for, and one more.
TEST(Geometry, OfARingHoldsEightOfTheLargestFrame) {
  for (std::uint64_t bytes = kMinRingBytes; bytes <= kMaxRingBytes; bytes *= 2) {
    SCOPED_TRACE(bytes);
    const std::uint32_t max = max_mtu(bytes);
    EXPECT_TRUE(check_geometry(bytes, max));
    EXPECT_LE(kRecordsPerRing * record_bytes(max_frame_bytes(max)), bytes);
    if (max == kMaxMtu) continue;
    EXPECT_GT(kRecordsPerRing * record_bytes(max_frame_bytes(max + 1)), bytes);
    const auto refused = check_geometry(bytes, max + 1);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::ring_too_small);
    EXPECT_NE(refused.error().message.find("it needs at least " + size_text(2 * bytes)),
              std::string::npos)
        << refused.error().message;
  }
}

TEST(Geometry, OfAPatienceIsAMillisecondToASecondWhereABusPauses) {
  constexpr std::uint64_t kMs = 1'000'000;
  for (const std::uint64_t ns : {kMs, kMs + 1, 1000 * kMs}) EXPECT_TRUE(check_flow(kFlowPause, ns));
  for (const std::uint64_t ns : {std::uint64_t{0}, kMs - 1, 1000 * kMs + 1}) {
    EXPECT_EQ(check_flow(kFlowPause, ns).error().code, Errc::bad_patience) << ns;
  }
  EXPECT_TRUE(check_flow(kFlowEthernet, 0));
  EXPECT_FALSE(check_flow(kFlowEthernet, kMs)) << "nobody would have it";
  EXPECT_FALSE(check_flow(2, kMs)) << "no such flow";
  EXPECT_NE(check_flow(kFlowPause, 2'345'678'000).error().message.find("a patience of 2345678 us"),
            std::string::npos);
}

}  // namespace
}  // namespace shmif::bus
