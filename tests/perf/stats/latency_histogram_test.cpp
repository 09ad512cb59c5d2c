
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <type_traits>
#include <vector>

#include "tests/perf/stats/recorded.hpp"

namespace shmif::perf {
namespace {

static_assert(std::is_trivially_copyable_v<LatencyHistogram>);

/// A percentile is never too low, and too high by at most this share.
constexpr double kMaxError = 1.0 / 128;

/// Durations as a run has them: most short, few long, over many powers of two.
std::vector<std::uint64_t> durations(std::size_t count, unsigned seed) {
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> spread(9, 3);
  std::vector<std::uint64_t> out;
  for (std::size_t i = 0; i < count; ++i) out.push_back(static_cast<std::uint64_t>(spread(random)));
  return out;
}

LatencyHistogram histogram_of(const std::vector<std::uint64_t>& values) {
  LatencyHistogram h;
  for (const std::uint64_t v : values) h.record(v);
  return h;
}

TEST(LatencyHistogram, BucketsFollowEachOtherWithoutGapAndNoneIsWiderThanPromised) {
  EXPECT_EQ(LatencyHistogram::min_of(0), 0U);
  for (std::size_t i = 0; i < LatencyHistogram::kBuckets; ++i) {
    const std::uint64_t min = LatencyHistogram::min_of(i);
    const std::uint64_t greatest = LatencyHistogram::greatest_of(i);
    ASSERT_EQ(LatencyHistogram::bucket_of(min), i);
    ASSERT_EQ(LatencyHistogram::bucket_of(greatest), i);
    if (i > 0) {
      ASSERT_EQ(LatencyHistogram::greatest_of(i - 1) + 1, min);
    }
    ASSERT_LE(static_cast<double>(greatest - min), kMaxError * static_cast<double>(min));
  }
  EXPECT_EQ(LatencyHistogram::bucket_of(UINT64_MAX), LatencyHistogram::kBuckets - 1);
  EXPECT_EQ(LatencyHistogram::greatest_of(LatencyHistogram::kBuckets - 1), UINT64_MAX);
}

TEST(LatencyHistogram, PercentilesAreThoseOfTheValuesWithinTheStatedError) {
  std::vector<std::uint64_t> values = durations(100'000, 7);
  const LatencyHistogram h = histogram_of(values);
  std::sort(values.begin(), values.end());
  for (const double p : {0.0, 0.001, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 100.0}) {
    const auto rank =
        std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(p * 1000 - 1e-6)));
    const std::uint64_t exact = values.at(rank - 1);
    EXPECT_GE(h.percentile(p), exact) << p;
    EXPECT_LE(static_cast<double>(h.percentile(p)), static_cast<double>(exact) * (1 + kMaxError))
        << p;
  }
  EXPECT_EQ(h.percentile(100), values.back());
  EXPECT_EQ(h.min(), values.front());
  EXPECT_EQ(h.max(), values.back());
  EXPECT_EQ(h.count(), values.size());
}

TEST(LatencyHistogram, ThePercentileOfFewIsOneOfThem) {
  const LatencyHistogram one = histogram_of({77});
  for (const double p : {0.0, 50.0, 99.999, 100.0}) EXPECT_EQ(one.percentile(p), 77U);
  const LatencyHistogram two = histogram_of({10, 200});
  EXPECT_EQ(two.percentile(50), 10U) << "half of them do not exceed it";
  EXPECT_EQ(two.percentile(50.1), 200U);
  LatencyHistogram thousand;
  for (std::uint64_t i = 1; i <= 100; ++i) record(thousand, i, 10);
  EXPECT_EQ(thousand.percentile(99), 99U);
  EXPECT_EQ(thousand.percentile(99.9), 100U);
  EXPECT_EQ(thousand.percentile(1), 1U);
}

TEST(LatencyHistogram, MergingIsAsIfAllHadBeenRecordedInOne) {
  const auto a = durations(5000, 1);
  const auto b = durations(3000, 2);
  LatencyHistogram merged = histogram_of(a);
  merged.merge(histogram_of(b));
  merged.merge(LatencyHistogram());
  auto both = a;
  both.insert(both.end(), b.begin(), b.end());
  const LatencyHistogram expected = histogram_of(both);
  EXPECT_EQ(merged.count(), expected.count());
  EXPECT_EQ(merged.min(), expected.min());
  EXPECT_EQ(merged.max(), expected.max());
  EXPECT_DOUBLE_EQ(merged.mean(), expected.mean());
  EXPECT_DOUBLE_EQ(merged.deviation(), expected.deviation());
  for (std::size_t i = 0; i < LatencyHistogram::kBuckets; ++i) {
    ASSERT_EQ(merged.count_in(i), expected.count_in(i)) << i;
  }
}

TEST(LatencyHistogram, ADurationThatIsRecordedManyTimesIsAsIfEachHadBeenByItself) {
  const auto at_once = std::make_unique<LatencyHistogram>();
  const auto one_by_one = std::make_unique<LatencyHistogram>();
  for (const std::uint64_t ns : {0ULL, 127ULL, 5000ULL, 1ULL << 40U, ~0ULL >> 1U}) {
    at_once->record(ns, 3 + ns % 5);
    for (std::uint64_t i = 0; i < 3 + ns % 5; ++i) one_by_one->record(ns);
  }
  EXPECT_EQ(at_once->count(), one_by_one->count());
  EXPECT_EQ(at_once->mean(), one_by_one->mean());
  EXPECT_EQ(at_once->deviation(), one_by_one->deviation());
  EXPECT_EQ(at_once->min(), 0U);
  EXPECT_EQ(at_once->max(), one_by_one->max());
  for (std::uint64_t rank = 1; rank <= at_once->count(); ++rank) {
    ASSERT_EQ(at_once->at_rank(rank), one_by_one->at_rank(rank));
  }
}

TEST(LatencyHistogram, MeanIsExactAndDeviationIsOfTheBuckets) {
  LatencyHistogram h;
  record(h, 1'000'000, 3);
  h.record(3'000'001);
  EXPECT_DOUBLE_EQ(h.mean(), 1'500'000.25);
  EXPECT_NEAR(h.deviation(), 866'025, 0.01 * 866'025);
  LatencyHistogram longest;
  longest.record(UINT64_MAX - 1);
  EXPECT_EQ(longest.percentile(50), UINT64_MAX - 1);
}

TEST(LatencyHistogram, TheDeviationIsThatOfTheDurationsHoweverWideTheirBucketsAre) {
  constexpr std::uint64_t kSecond = 1'000'000'000;  // in a bucket of 4 ms
  EXPECT_EQ(histogram_of({kSecond + 146'833}).deviation(), 0.0) << "one duration does not vary";
  const LatencyHistogram two = histogram_of({kSecond + 207'792, kSecond + 1'297'456});
  EXPECT_DOUBLE_EQ(two.deviation(), 544'832) << "half of the distance";
  LatencyHistogram both;
  record(both, kSecond, 3);
  LatencyHistogram later;
  later.record(kSecond + 4);
  both.merge(later);
  EXPECT_NEAR(both.deviation(), std::sqrt(3.0), 1e-9) << "of 0, 0, 0 and 4";
  EXPECT_DOUBLE_EQ(histogram_of({0, UINT64_MAX}).deviation(), std::ldexp(1.0, 63))
      << "half of the range";
}

TEST(LatencyHistogram, OfNothingKnowsThatItIsEmpty) {
  LatencyHistogram h;
  EXPECT_TRUE(h.empty());
  EXPECT_EQ(h.percentile(99), 0U);
  EXPECT_EQ(h.min(), 0U);
  EXPECT_EQ(h.mean(), 0.0);
  EXPECT_EQ(h.deviation(), 0.0);
  h.record(5);
  EXPECT_FALSE(h.empty());
}

}  // namespace
}  // namespace shmif::perf
