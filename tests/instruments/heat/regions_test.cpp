// Regions: what is hot is found, whatever the target looks like, and the rules R1 to R4 hold after
// every step.

#include <gtest/gtest.h>
#include <random>

#include "instruments/heat/regions.hpp"
#include "tests/instruments/heat/shared_pages.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kBase = std::uint64_t{0x7f00} << 32U;

AddressRange pages(std::uint64_t begin, std::uint64_t end) {
  return {kBase + begin * kPage, kBase + end * kPage};
}

HeatAttributes attributes(std::uint64_t least = 10, std::uint64_t most = 1000) {
  return {std::chrono::microseconds(5000), std::chrono::microseconds(100000),
          std::chrono::microseconds(1000000), least, most};
}

std::uint64_t bytes_of(const auto& ranges) {
  std::uint64_t bytes = 0;
  for (const auto& range : ranges) bytes += range.bytes();
  return bytes;
}

/// R1 to R4.
void expect_sound(const std::vector<Region>& found, const Regions& regions,
                  const HeatAttributes& bounds) {
  const std::vector<AddressRange>& target = regions.target();
  auto range = target.begin();
  std::uint64_t at = target.empty() ? 0 : range->begin;
  for (const Region& region : found) {
    ASSERT_NE(range, target.end()) << "R1: a region behind the target";
    ASSERT_EQ(region.begin, at) << "R1: sorted, disjoint, without a gap";
    ASSERT_LT(region.begin, region.end);
    ASSERT_LE(region.end, range->end) << "R1: in one range";
    ASSERT_EQ(region.begin % kPage + region.end % kPage, 0U);
    ASSERT_LE(region.accesses, bounds.samples_per_window());
    at = region.end;
    if (at == range->end && ++range != target.end()) at = range->begin;
  }
  ASSERT_EQ(range, target.end()) << "R1: all of the target";
  if (regions.looking() != Looking::whole_ranges) {
    ASSERT_LE(found.size(), std::max<std::size_t>(bounds.max_regions, target.size())) << "R2";
    ASSERT_GE(found.size(), std::min<std::size_t>(bounds.min_regions, bytes_of(target) / kPage))
        << "R3";
  }
  ASSERT_EQ(bytes_of(found), bytes_of(target)) << "R4";
}

/// Windows of samples of a program that accesses the pages for which `is_hot` says so.
template <class IsHot>
std::vector<Region> watch(Regions& regions, const HeatAttributes& bounds, int windows,
                          IsHot is_hot) {
  std::vector<Region> found;
  for (int window = 0; window < windows; ++window) {
    for (unsigned i = 0; i < bounds.samples_per_window(); ++i) {
      std::vector<Sighting> seen;
      for (const std::uint64_t page : regions.choose()) {
        seen.push_back({is_hot((page - kBase) / kPage), std::nullopt});
      }
      regions.record(seen);
    }
    found = regions.aggregate();
    expect_sound(found, regions, bounds);
  }
  return found;
}

Region region_of(std::uint64_t begin, std::uint64_t end, std::uint32_t accesses,
                 std::uint32_t writes, std::uint32_t age) {
  return {kBase + begin * kPage, kBase + end * kPage, accesses, writes, age};
}
/// So many samples of which each saw these pages.
void see(Regions& regions, unsigned samples, AddressRange range,
         std::optional<bool> written = false) {
  for (unsigned i = 0; i < samples; ++i) {
    regions.record_pages(std::vector<SeenPages>{{range, {true, written}}});
  }
}
/// The region that begins with page 4.
Region fourth_in(const std::vector<Region>& found) {
  const auto hot = std::ranges::find(found, kBase + 4 * kPage, &Region::begin);
  EXPECT_NE(hot, found.end());
  return hot == found.end() ? Region{} : *hot;
}

TEST(HeatRegions, FindAHotTenthOfALargeTargetByFewPages) {
  const HeatAttributes bounds = attributes();
  Regions regions(bounds, Looking::chosen_pages, kPage, 1);
  regions.set_target({pages(0, 262144)});  // 1 GiB
  const auto is_hot = [](std::uint64_t page) { return page >= 100000 && page < 126214; };
  const auto found = watch(regions, bounds, 40, is_hot);
  const Quality got = quality_of(
      found, [](const Region& each) { return each.accesses >= 10; },
      [&](std::uint64_t at) { return is_hot((at - kBase) / kPage); });
  std::printf("hot tenth of 1 GiB: %zu regions, recall %.3f, precision %.3f\n", found.size(),
              got.recall, got.precision);
  EXPECT_GE(got.recall, 0.95);
  EXPECT_GE(got.precision, 0.95);
}

TEST(HeatRegions, OfAllPagesAreExact) {
  const HeatAttributes bounds = attributes(3);
  Regions regions(bounds, Looking::all_pages, kPage, 1);
  regions.set_target({pages(0, 100)});
  see(regions, 20, pages(7, 9), true);
  see(regions, 20, pages(50, 51));
  see(regions, 5, pages(99, 200));  // beyond the target
  const auto found = regions.aggregate();
  expect_sound(found, regions, bounds);
  EXPECT_EQ(found, (std::vector<Region>{region_of(0, 7, 0, 0, 1), region_of(7, 9, 20, 20, 0),
                                        region_of(9, 50, 0, 0, 1), region_of(50, 51, 20, 0, 0),
                                        region_of(51, 99, 0, 0, 1), region_of(99, 100, 5, 0, 0)}));
  EXPECT_EQ(regions.working_set_bytes(), 4 * kPage);
}

/// Each byte of what is joined counts the same.
TEST(HeatRegions, ThatAreTooManyAreJoinedWhereTheyDifferLeast) {
  Regions regions(attributes(3, 3), Looking::all_pages, kPage, 1);
  regions.set_target({pages(0, 6)});
  see(regions, 20, pages(0, 3));
  see(regions, 8, pages(3, 4));
  see(regions, 8, pages(3, 4), true);
  see(regions, 10, pages(5, 6));
  EXPECT_EQ(regions.aggregate(),
            (std::vector<Region>{region_of(0, 4, 19, 2, 0), region_of(4, 5, 0, 0, 1),
                                 region_of(5, 6, 10, 0, 0)}));
}

TEST(HeatRegions, AgeWhileTheyAreAccessedAboutAsOften) {
  const HeatAttributes bounds = attributes(3);
  Regions regions(bounds, Looking::all_pages, kPage, 1);
  regions.set_target({pages(0, 10)});
  std::vector<std::uint32_t> ages;
  for (const unsigned accesses : {20U, 20U, 18U, 20U, 5U, 6U}) {
    see(regions, accesses, pages(4, 6));
    ages.push_back(fourth_in(regions.aggregate()).age);
  }
  EXPECT_EQ(ages, (std::vector<std::uint32_t>{0, 1, 2, 3, 0, 1}));
}

TEST(HeatRegions, SayNothingOfWritesThatWereNotMeasured) {
  const HeatAttributes bounds = attributes(3);
  for (const Looking looking : {Looking::chosen_pages, Looking::all_pages, Looking::whole_ranges}) {
    Regions regions(bounds, looking, kPage, 1);
    regions.set_target({pages(0, 10)});
    const Sighting seen{true, std::nullopt};
    if (looking == Looking::all_pages) {
      regions.record_pages(std::vector<SeenPages>{{pages(0, 10), seen}});
    } else {
      regions.record(std::vector<Sighting>(regions.choose().size(), seen));
    }
    for (const Region& region : regions.aggregate()) {
      EXPECT_EQ(region.accesses, 1U);
      EXPECT_EQ(region.writes, std::nullopt);
    }
  }
}

TEST(HeatRegions, CountPagesThatWereSeenAcrossSeveralRanges) {
  Regions regions(attributes(3), Looking::all_pages, kPage, 1);
  regions.set_target({pages(0, 10), pages(12, 20), pages(20, 24), pages(30, 40)});
  see(regions, 1, pages(8, 32), true);
  std::uint64_t accessed = 0;
  for (const Region& region : regions.aggregate()) {
    if (region.accesses > 0) accessed += region.bytes();
  }
  EXPECT_EQ(accessed, (2 + 8 + 4 + 2) * kPage);
  EXPECT_EQ(regions.working_set_bytes(), accessed);
}

TEST(HeatRegions, OfWholeRangesAreTheRanges) {
  const HeatAttributes bounds = attributes(10, 10);
  Regions regions(bounds, Looking::whole_ranges, kPage, 1);
  regions.set_target({pages(0, 10), pages(10, 11), pages(20, 1000)});
  for (int i = 0; i < 3; ++i) {
    regions.record(std::vector<Sighting>{{true, {}}, {false, {}}, {i == 0, {}}});
  }
  const auto found = regions.aggregate();
  expect_sound(found, regions, bounds);
  std::vector<std::uint32_t> accesses;
  for (const Region& each : found) accesses.push_back(each.accesses);
  EXPECT_EQ(accesses, (std::vector<std::uint32_t>{3, 0, 1}));
  EXPECT_EQ(regions.working_set_bytes(), (10 + 980) * kPage);
}

TEST(HeatRegions, KeepWhatTheyKnowWhenTheTargetChanges) {
  const HeatAttributes bounds = attributes(3);
  Regions regions(bounds, Looking::all_pages, kPage, 1);
  regions.set_target({pages(0, 10)});
  for (int window = 0; window < 3; ++window) {
    see(regions, 20, pages(4, 6));
    regions.aggregate();
  }
  regions.set_target({pages(2, 5), pages(8, 12)});
  see(regions, 20, pages(4, 6));
  const auto found = regions.aggregate();
  expect_sound(found, regions, bounds);
  EXPECT_EQ(fourth_in(found), region_of(4, 5, 20, 0, 3));
}

TEST(HeatRegions, TakeAnyRangesAsWholePagesWithoutOverlaps) {
  Regions regions(attributes(3), Looking::chosen_pages, kPage, 1);
  regions.set_target({{0x3001, 0x3002}, {0x1000, 0x1000}, {0x5000, 0x7000}, {0x6fff, 0x9001}});
  EXPECT_EQ(regions.target(),
            (std::vector<AddressRange>{{0x3000, 0x4000}, {0x5000, 0x7000}, {0x7000, 0xa000}}));
  regions.set_target({});
  EXPECT_TRUE(regions.choose().empty());
  EXPECT_TRUE(regions.aggregate().empty());
}

/// Any targets, any accesses, any bounds.
TEST(HeatRegions, KeepTheirRulesWhateverIsSeen) {
  std::mt19937_64 random(42);
  for (int round = 0; round < 150; ++round) {
    const std::uint64_t least = random() % 30 + 3;
    const HeatAttributes bounds = attributes(least, least + random() % 40);
    const auto looking = static_cast<Looking>(random() % 3);
    Regions regions(bounds, looking, kPage, round);
    for (int window = 0; window < 12; ++window) {
      if (window % 4 == 0) {
        std::vector<AddressRange> target;
        for (std::uint64_t at = 0, i = random() % 12; i > 0; --i) {
          at += random() % 50;
          const std::uint64_t length = random() % (random() % 2 == 0 ? 5 : 600);
          target.push_back(pages(at, at + length));
          at += length;
        }
        regions.set_target(target);
      }
      for (unsigned i = 0; i < bounds.samples_per_window(); ++i) {
        std::vector<Sighting> seen;
        for (std::size_t k = regions.choose().size(); k > 0; --k) {
          const std::uint64_t any = random();
          seen.push_back({any % 2 == 0, any % 3 == 0 ? std::nullopt : std::optional(any % 5 == 0)});
        }
        if (looking != Looking::all_pages) {
          regions.record(seen);
        } else {
          const std::uint64_t begin = random() % 1000;
          regions.record_pages(std::vector<SeenPages>{
              {pages(begin, begin + random() % 200), {true, random() % 2 == 0}}});
        }
      }
      const auto found = regions.aggregate();
      expect_sound(found, regions, bounds);
      if (HasFatalFailure()) FAIL() << "round " << round << ", window " << window;
    }
  }
}

/// A region of which a part was written, or not, without anybody knowing is not one that was not
/// written.
TEST(HeatRegions, ThatAreJoinedKnowWritesOnlyIfAllOfThemDo) {
  const HeatAttributes bounds = attributes(3, 100);
  const std::uint64_t base = kBase;
  std::size_t joined = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Regions regions(bounds, Looking::chosen_pages, kPage, seed);
    regions.set_target({{base, base + 60 * kPage}});
    regions.aggregate();  // splits them, so that some can be joined
    const std::vector<std::uint64_t> chosen = regions.choose();
    std::vector<Sighting> seen;
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      seen.push_back({true, i % 2 == 0 ? std::optional(false) : std::nullopt});
    }
    regions.record(seen);
    for (const Region& region : regions.aggregate()) {
      std::size_t known = 0, unknown = 0;
      for (std::size_t i = 0; i < chosen.size(); ++i) {
        if (chosen[i] < region.begin || chosen[i] >= region.end) continue;
        ++(seen[i].written ? known : unknown);
      }
      if (unknown > 0) {
        EXPECT_EQ(region.writes, std::nullopt) << seed;
      }
      joined += known > 0 && unknown > 0 ? 1 : 0;
    }
  }
  EXPECT_GT(joined, 20U) << "neighbours were joined";
}

}  // namespace

// The five numbers that users of DAMON know: all of them or none, and nothing behind them.

namespace {

using std::chrono::microseconds;

TEST(HeatAttributesText, IsFiveNumbersInAndOut) {
  const auto read = read_attributes("1,22,333,4,55");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, (HeatAttributes{microseconds(1), microseconds(22), microseconds(333), 4, 55}));
  EXPECT_EQ(attributes_text(*read), "1,22,333,4,55");
  EXPECT_EQ(attributes_text({}), "5000,100000,1000000,10,1000");
  EXPECT_EQ(read->samples_per_window(), 22U);
}

TEST(HeatAttributesText, TakesUnits) {
  const auto read = read_attributes("5ms,0.1s,1m,1k,1M");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(attributes_text(*read), "5000,100000,60000000,1000,1000000");
}

TEST(HeatAttributesText, IsRefusedAsAWhole) {
  for (const char* text : {"",
                           ",,,,",
                           "5000",
                           "5000,100000,1000000,10",
                           "5000,100000,1000000,10,1000,1",
                           "5000,100000,1000000,10,1000 junk",
                           "5000,100000,1000000,10,1000,",
                           "5000 100000 1000000 10 1000 on",
                           "5000 100000 1000000, 10, 1000",
                           "0,100000,1000000,10,1000",
                           "5000,0,1000000,10,1000",
                           "5000,100000,0,10,1000",
                           "5000,100000,1000000,2,1000",
                           "5000,100000,1000000,10,9",
                           "5000,4999,1000000,10,1000",
                           "1.5us,100000,1000000,10,1000",
                           "1500ns,100000,1000000,10,1000",
                           "-5000,100000,1000000,10,1000",
                           "5000,2d,1000000,10,1000",
                           "5000,100000,1000000,10,1000001",
                           "86400000001,86400000001,1,3,3",
                           "1,1,86400000001,3,3",
                           "1,1000001,1,3,3"}) {
    const auto read = read_attributes(text);
    EXPECT_TRUE(!read && read.error().code == Errc::bad_argument) << text;
  }
  EXPECT_NE(read_attributes("1,2,3,4").error().message.find("has 4 numbers"), std::string::npos);
  for (const char* bounds : {"5000,5000,1,3,3", "1d,1d,1d,3,1000000", "1,1000000,1,3,3",
                             "5001 100002 1000003 14 1005\n"}) {
    EXPECT_TRUE(read_attributes(bounds)) << bounds;
  }
}

TEST(HeatAttributesText, ComesBackWhateverTheNumbersAre) {
  std::mt19937_64 random(20261123);
  const auto any = [&](std::uint64_t most) { return random() % most + 1; };
  unsigned taken = 0;
  for (int i = 0; i < 20000; ++i) {
    const HeatAttributes attributes{microseconds(any(1000)), microseconds(any(100000)),
                                    microseconds(any(1U << 30U)), any(20), any(40)};
    const auto read = read_attributes(attributes_text(attributes));
    EXPECT_EQ(read.has_value(), check_attributes(attributes).has_value());
    if (!read) continue;
    EXPECT_EQ(*read, attributes);
    ++taken;
  }
  EXPECT_GT(taken, 1000U);
}

}  // namespace

}  // namespace shmif::perf::test
