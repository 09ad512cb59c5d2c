// The heat of a mapping of a bus over a long time: what is kept of it.

#include "instruments/heat/bus_heat.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "bus/layout.hpp"

namespace shmif::perf::test::history {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kRingBytes = 1U << 20U;
constexpr std::uint64_t kAt = 7U << 20U;
constexpr std::uint64_t kRingAt = kAt + bus::kRingOffset;
constexpr AddressRange kMapped{kAt, kRingAt + 2 * kRingBytes};
constexpr std::uint32_t kLooks = 10;

BusHistory history() {
  return {kRingBytes, kPage, 1.0};
}

/// One with fewer looks than usual was cut short.
HeatWindow window_at(double begin_s, std::vector<Region> regions, std::uint32_t looks = kLooks) {
  return {begin_s, begin_s + static_cast<double>(looks) / kLooks, looks, 0, std::move(regions)};
}

/// The first pages of the ring were used in so many looks, and written in half as many.
Region used(std::uint64_t pages, std::uint32_t accesses = kLooks) {
  return {kRingAt, kRingAt + pages * kPage, accesses, accesses / 2, 0};
}

double sum_of(const std::vector<double>& cells, std::size_t from, std::size_t count) {
  const auto first = cells.begin() + static_cast<std::ptrdiff_t>(from);
  return std::accumulate(first, first + static_cast<std::ptrdiff_t>(count), 0.0);
}

TEST(BusHistory, ShowsHeaderPortsAndRingAndFoldsTheTwoPlacesOfTheRing) {
  BusHistory all = history();
  all.add(window_at(0, {{kAt, kAt + kPage, 10, 5, 0},
                        {kRingAt, kRingAt + kRingBytes / 2, 10, 0, 0},
                        {kRingAt + kRingBytes, kRingAt + 2 * kRingBytes, 4, 2, 0}}),
          kMapped);
  ASSERT_EQ(all.rows().size(), 1U);
  const BusHeatRow& row = all.rows().front();
  ASSERT_EQ(row.accessed.size(), BusHistory::kCells);
  EXPECT_EQ(row.accessed[0], 1) << "the header";
  EXPECT_EQ(sum_of(row.accessed, 1, 7), 0) << "the ports";
  EXPECT_EQ(row.accessed[8], 1) << "oftener at the first place";
  EXPECT_EQ(row.accessed[63], 0.4) << "only at the second place";
  EXPECT_EQ(row.written[0], 0.5);
  EXPECT_EQ(row.written[8], 0.2);
  EXPECT_EQ(all.touched_bytes(), kPage + kRingBytes);
  EXPECT_EQ(all.written_bytes(), kPage + kRingBytes);
  const auto regions = all.regions();
  ASSERT_EQ(regions.size(), 4U) << "the header, the ports, and two of the ring";
  EXPECT_EQ(regions[2], (Region{bus::kRingOffset, bus::kRingOffset + kRingBytes / 2, 10, 2, 0}));
  EXPECT_EQ(regions[3].end, all.bytes());
}

TEST(BusHistory, ItsWorkingSetIsThatOfTheWindows) {
  BusHistory all = history();
  for (std::uint64_t i = 1; i <= 100; ++i) {
    all.add(window_at(static_cast<double>(i), {used(i)}), kMapped);
  }
  EXPECT_EQ(all.working_set_bytes(50), 50 * kPage);
  EXPECT_EQ(all.working_set_bytes(95), 95 * kPage);
  EXPECT_EQ(all.working_set_bytes(100), 100 * kPage);
  EXPECT_EQ(all.touched_bytes(), 100 * kPage);
  EXPECT_EQ(all.windows(), 100U);
}

TEST(BusHistory, KeepsAHundredRowsOfAnyTimeWithTheirBordersAndMeans) {
  BusHistory all = history();
  constexpr std::size_t kWindows = 1234;
  for (std::size_t i = 0; i < kWindows; ++i) {
    all.add(window_at(static_cast<double>(i), {used(256, i < kWindows / 2 ? 4 : 8)}), kMapped);
  }
  ASSERT_LE(all.rows().size(), BusHistory::kMaxRows);
  EXPECT_GE(all.rows().size(), BusHistory::kMaxRows / 2);
  EXPECT_EQ(all.rows().front().begin_s, 0);
  EXPECT_EQ(all.rows().back().end_s, static_cast<double>(kWindows));
  std::uint64_t looks = 0;
  double heat = 0;
  for (std::size_t i = 0; i < all.rows().size(); ++i) {
    const BusHeatRow& row = all.rows()[i];
    looks += row.looks;
    heat += row.accessed[20] * static_cast<double>(row.looks);
    if (i > 0) {
      EXPECT_EQ(row.begin_s, all.rows()[i - 1].end_s);
      // Only the last one may grow yet.
      EXPECT_EQ(all.rows()[i - 1].looks, all.rows().front().looks);
    }
  }
  EXPECT_EQ(looks, kWindows * kLooks);
  EXPECT_NEAR(heat, 617.0 * 4 + 617.0 * 8, 1e-6);
}

/// Windows have so many looks as there was time for; a row of two has the mean of their looks.
TEST(BusHistory, ARowOfTwoWindowsIsTheMeanOfTheirLooks) {
  BusHistory all = history();
  const auto add = [&](int i) {
    const bool is_long = i % 2 == 1;
    const Region region{kRingAt, kRingAt + kRingBytes, is_long ? 6U : 10U, is_long ? 3U : 5U, 0};
    HeatWindow window = window_at(i, {region}, is_long ? 30 : 10);
    window.end_s = i + 0.5;
    all.add(window, kMapped);
  };
  for (int i = 0; i < 100; ++i) add(i);
  ASSERT_EQ(all.rows().size(), 100U);
  EXPECT_EQ(all.rows()[1].looks, 30U);
  EXPECT_DOUBLE_EQ(all.rows()[1].accessed[20], 0.2);
  EXPECT_DOUBLE_EQ(all.rows()[1].written[20], 0.1);
  add(100);
  ASSERT_EQ(all.rows().size(), 51U);
  for (const std::size_t i : {0U, 1U, 49U}) {
    const BusHeatRow& row = all.rows()[i];
    EXPECT_EQ(row.begin_s, 2.0 * static_cast<double>(i));
    EXPECT_EQ(row.end_s, 2.0 * static_cast<double>(i) + 1.5);
    EXPECT_EQ(row.looks, 40U);
    EXPECT_DOUBLE_EQ(row.accessed[20], 0.4);
    EXPECT_DOUBLE_EQ(row.written[20], 0.2);
  }
  EXPECT_EQ(all.rows()[50].begin_s, 100);
  EXPECT_EQ(all.rows()[50].looks, 10U);
  add(101);
  EXPECT_EQ(all.rows().size(), 51U) << "later rows are of two windows, too";
  EXPECT_EQ(all.rows()[50].looks, 40U);
  add(102);
  EXPECT_EQ(all.rows().size(), 52U);
  EXPECT_EQ(all.rows()[51].looks, 10U);
}

TEST(BusHistory, AWindowOfARampIsInTheMapAndInNothingElse) {
  BusHistory all = history();
  all.add(window_at(0, {used(9)}), kMapped, BusHistory::Counts::row);
  EXPECT_EQ(all.rows().size(), 1U);
  EXPECT_FALSE(all.touched_bytes());
  EXPECT_FALSE(all.written_bytes());
  EXPECT_FALSE(all.working_set_bytes(50));
  EXPECT_TRUE(all.regions().empty());
  all.add(window_at(1, {used(3)}), kMapped);
  EXPECT_EQ(all.rows().size(), 2U);
  EXPECT_EQ(all.touched_bytes(), 3 * kPage);
}

TEST(BusHistory, AShortWindowIsNotInTheWorkingSet) {
  BusHistory all = history();
  all.add(window_at(0, {used(9)}), kMapped);
  all.add(window_at(1, {used(20, 4)}, 4), kMapped);
  EXPECT_EQ(all.working_set_bytes(100), 9 * kPage);
  EXPECT_EQ(all.looks_of_regions(), kLooks);
  EXPECT_EQ(all.touched_bytes(), 20 * kPage);
}

TEST(BusHistory, AgesWhatIsUsedAsOftenAsBefore) {
  BusHistory all = history();
  const auto rest = [](std::uint64_t from) {
    return Region{kRingAt + from * kPage, kMapped.end, 0, 0, 0};
  };
  for (int i = 0; i < 5; ++i) all.add(window_at(i, {used(8), rest(8)}), kMapped);
  all.add(window_at(5, {used(4), rest(4)}), kMapped);
  const auto regions = all.regions();
  ASSERT_EQ(regions.size(), 4U);
  EXPECT_EQ(regions[1].age, 5U) << "used all the time";
  EXPECT_EQ(regions[2].age, 0U) << "no more";
  EXPECT_EQ(regions[3].age, 6U) << "never";
}

TEST(BusHistory, SaysThatWritesAreNotMeasuredWhereTheKernelDoesNotTell) {
  BusHistory all = history();
  all.add(window_at(0, {{kAt, kMapped.end, 3, std::nullopt, 0}}), kMapped);
  EXPECT_FALSE(all.written_bytes());
  EXPECT_TRUE(all.rows().front().written.empty());
  EXPECT_FALSE(all.regions().front().writes);
  EXPECT_TRUE(all.touched_bytes());
}

TEST(BusHistory, LeavesOutWindowsThatKnowNothingOfTheBus) {
  BusHistory all = history();
  all.add(window_at(0, {{kMapped.end, kMapped.end + kPage, 3, 1, 0}}), kMapped);
  all.add(window_at(1, {used(3)}, 0), kMapped);
  EXPECT_TRUE(all.rows().empty());
  EXPECT_EQ(all.windows(), 0U);
}

// Of what is joined, nothing is said to have been so for longer than it was.
TEST(BusHistory, JoinedRegionsAreAsOldAsTheYoungest) {
  constexpr std::uint64_t kLarge = 64U << 20U;
  BusHistory all(kLarge, kPage, 1.0);
  std::vector<Region> regions;
  for (std::uint64_t i = 0; i < kLarge / kPage; ++i) {
    const std::uint64_t begin = kRingAt + i * kPage;
    const std::uint32_t accesses = i % 2 == 0 ? 0 : 5;
    regions.push_back({begin, begin + kPage, accesses, 0, 0});
  }
  for (int i = 0; i < 4; ++i) all.add(window_at(i, regions), {kAt, kRingAt + 2 * kLarge});
  const auto kept = all.regions();
  ASSERT_LE(kept.size(), BusHistory::kMaxRegions);
  EXPECT_EQ(kept.back().age, 3U) << "one half began in the first window, the other before";
}

// More regions than are kept: neighbours become one with the mean of their counts.
TEST(BusHistory, JoinedRegionsHaveTheMeanOfTheirCounts) {
  constexpr std::uint64_t kLarge = 64U << 20U;
  BusHistory all(kLarge, kPage, 1.0);
  std::vector<Region> regions{{kAt, kRingAt, 0, 0, 0}};
  for (std::uint64_t i = 0; i < kLarge / kPage; ++i) {
    const std::uint64_t begin = kRingAt + i * kPage;
    const std::uint32_t more = i % 2;
    regions.push_back({begin, begin + kPage, 10 + more, 4 + more, 0});
  }
  all.add(window_at(0, regions, 20), {kAt, kRingAt + 2 * kLarge});
  EXPECT_EQ(all.regions(), (std::vector<Region>{{0, bus::kRingOffset, 0, 0, 1},
                                                {bus::kRingOffset, all.bytes(), 11, 5, 0}}))
      << "the half is rounded up";
}

TEST(BusHistory, KeepsWhatWasWrittenBeforeTheKernelToldNoMore) {
  BusHistory all = history();
  all.add(window_at(0, {used(3)}), kMapped);
  all.add(window_at(1, {{kRingAt, kRingAt + 5 * kPage, 3, std::nullopt, 0}}), kMapped);
  EXPECT_EQ(all.written_bytes(), 3 * kPage);
  EXPECT_EQ(all.touched_bytes(), 5 * kPage);
  EXPECT_FALSE(all.regions()[2].writes) << "those are of the last window";
}

}  // namespace
}  // namespace shmif::perf::test::history
