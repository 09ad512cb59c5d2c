// What a live picture costs: it looks at the windows that it shows, and copies none, however many
// were watched before. Allocations are counted, not time: each copy of a window is one. A program
// of its own, because it has an operator new, of which ThreadSanitizer has one, too.

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <utility>

#include "instruments/heat/heat_map.hpp"
#include "tests/support/counted_allocations.hpp"

namespace shmif::perf {
namespace {

/// Memory of ten pages, of which others are hot in each window.
HeatResult watched_for(std::size_t windows) {
  constexpr std::uint64_t kPage = 4096;
  constexpr std::uint64_t kPages = 10;
  HeatResult result;
  result.process.number = 41;
  result.ranges = {{{0, kPages * kPage}, "table"}};
  result.windows.reserve(windows);
  for (std::size_t i = 0; i < windows; ++i) {
    HeatWindow& window = result.windows.emplace_back();
    window.begin_s = 1000 + static_cast<double>(i);
    window.end_s = window.begin_s + 1;
    window.samples = kPages;
    window.working_set_bytes = kPages * kPage;
    window.regions.reserve(kPages);
    for (std::uint64_t page = 0; page < kPages; ++page) {
      Region& region = window.regions.emplace_back();
      region.begin = page * kPage;
      region.end = region.begin + kPage;
      region.accesses = static_cast<std::uint32_t>((page + i) % kPages);
    }
  }
  return result;
}

struct Picture {
  std::string text;
  std::size_t allocations;
};
Picture picture_of(const HeatResult& result) {
  const std::size_t before = shmif::test::allocations;
  std::string text = heat_picture({&result}, {}, 80, 24, true);
  return {std::move(text), shmif::test::allocations - before};
}

TEST(HeatCost, OfAPictureDoesNotGrowWithTheLengthOfTheWatch) {
  const Picture brief = picture_of(watched_for(100));
  const Picture lasting = picture_of(watched_for(2000));
  EXPECT_NE(brief.text.find("process 41, 1100.0 s: "), std::string::npos) << brief.text;
  EXPECT_NE(lasting.text.find("process 41, 3000.0 s: "), std::string::npos) << lasting.text;
  EXPECT_GT(brief.allocations, 20U) << "it shows as many windows";
  EXPECT_EQ(lasting.allocations, brief.allocations);
}

}  // namespace
}  // namespace shmif::perf
