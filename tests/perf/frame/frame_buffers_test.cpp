// The memory of frames: where it is, and that it is given back.

#include "perf/frame/frame_maker.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

namespace shmif::perf {
namespace {

constexpr std::size_t kHuge = std::size_t{2} << 20U;
constexpr std::size_t kSome = 3 * kHuge - 5000;

/// The pages of address space that this process has.
std::int64_t pages() {
  std::int64_t size = 0;
  std::ifstream("/proc/self/statm") >> size;
  return size;
}
/// Less than any of the buffers here.
constexpr std::int64_t kFewPages = 100;

/// Empty where this machine has no huge pages.
std::optional<FrameBuffers> buffers(bool huge) {
  try {
    return std::optional<FrameBuffers>(std::in_place, kSome, huge);
  } catch (const std::system_error& error) {
    EXPECT_TRUE(huge) << error.what();
    EXPECT_EQ(error.code(), std::errc::not_supported) << error.what();
    return std::nullopt;
  }
}

bool begins_with_a_huge_page(const std::byte* at) {
  return reinterpret_cast<std::uintptr_t>(at) % kHuge == 0;
}

TEST(FrameBuffers, AreGivenBackWhole) {
  for (const bool huge : {false, true}) {
    SCOPED_TRACE(huge);
    const std::int64_t before = pages();
    {
      auto one = buffers(huge);
      if (!one) continue;
      EXPECT_GT(pages(), before + kFewPages);
      FrameBuffers moved(*std::move(one));
      one.reset();
      moved.bytes().back() = std::byte{1};  // it is still there
    }
    EXPECT_LT(pages(), before + kFewPages);
  }
}

TEST(FrameBuffers, InHugePagesBeginWithOneAndAreZeroFilledAndLongEnough) {
  for (const bool huge : {false, true}) {
    const auto some = buffers(huge);
    if (!some) continue;
    EXPECT_GE(some->bytes().size(), kSome);
    EXPECT_EQ(some->data(), some->bytes().data());
    EXPECT_TRUE(!huge || begins_with_a_huge_page(some->data()));
    EXPECT_EQ(some->bytes()[kSome - 1], std::byte{0});
  }
}

TEST(FrameBuffers, OfAJobThatAsksForHugePagesAreInHugePages) {
  if (!buffers(true)) GTEST_SKIP() << "huge pages are switched off";
  JobOptions job;
  job.hugepages = true;
  FrameMaker maker(frame_maker_options(job, 0, 100'000));
  EXPECT_TRUE(begins_with_a_huge_page(maker.memory().data()));
  EXPECT_EQ(maker.memory().size() % kHuge, 0U);
  job.hugepages = false;
  EXPECT_NE(FrameMaker(frame_maker_options(job, 0, 100'000)).memory().size() % kHuge, 0U);
}

}  // namespace
}  // namespace shmif::perf
