// The comparison of two sources: a verdict only for like with like, and none where it would be
// luck.

#include "instruments/membw/compare.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "instruments/membw/measure.hpp"

namespace shmif::perf::test {
namespace {

constexpr double kGiga = 1e9;

MemorySummary summary(const std::string& source, MemoryScope scope, double reads, double writes) {
  MemorySummary made;
  made.source = source;
  made.scope = scope;
  made.rates = {reads, writes, reads + writes};
  return made;
}
MemorySummary group_of(double total) {
  MemorySummary made = summary("resctrl", MemoryScope::group, 0, 0);
  made.rates = {{}, {}, total, {}, "resctrl does not tell reads from writes"};
  return made;
}

TEST(MemoryComparisons, OfLikeSourcesHaveAVerdict) {
  const auto pmu = summary("pmu", MemoryScope::machine, 6 * kGiga, 4 * kGiga);
  auto other = pmu;
  other.source = "resctrl";
  other.rates.total = 9.5 * kGiga;
  const auto near = compare_memory(pmu, other, MemoryReport::total);
  EXPECT_EQ(near.first, "pmu");
  EXPECT_EQ(near.second, "resctrl");
  EXPECT_EQ(near.verdict, MemoryVerdict::same);
  EXPECT_DOUBLE_EQ(near.difference_bytes_per_s.value(), 0.5 * kGiga);
  EXPECT_DOUBLE_EQ(near.difference_share.value(), 0.05);
  EXPECT_EQ(near.reason, "");
  other.rates.total = 9 * kGiga;
  EXPECT_EQ(compare_memory(pmu, other, MemoryReport::total).verdict, MemoryVerdict::different);
  // Reads are compared with reads, and writes with writes.
  EXPECT_EQ(compare_memory(pmu, other, MemoryReport::reads).verdict, MemoryVerdict::same);
  other.rates.writes = 2 * kGiga;
  EXPECT_EQ(compare_memory(pmu, other, MemoryReport::writes).verdict, MemoryVerdict::different);
}

TEST(MemoryComparisons, SubtractTheBackgroundOfWhatIsCompared) {
  auto pmu = summary("pmu", MemoryScope::machine, 6 * kGiga, 4 * kGiga);
  pmu.background = MemoryRates{0.25 * kGiga, 0.125 * kGiga, 0.375 * kGiga};
  const auto group = summary("other", MemoryScope::group, 5 * kGiga, 4 * kGiga);
  const auto difference = [&](MemoryReport report) {
    return compare_memory(pmu, group, report).difference_bytes_per_s.value_or(0);
  };
  EXPECT_EQ(difference(MemoryReport::reads), 0.75 * kGiga);
  EXPECT_EQ(difference(MemoryReport::writes), 0.125 * kGiga);
  EXPECT_EQ(difference(MemoryReport::total), 0.625 * kGiga);
}

TEST(MemoryComparisons, OfDifferentThingsStandSideBySide) {
  const auto pmu = summary("pmu", MemoryScope::machine, kGiga, kGiga);
  auto software = pmu;
  software.source = "software";
  software.part = "bus";
  software.level = MemoryLevel::copied;
  auto result = compare_memory(pmu, software, MemoryReport::total);
  EXPECT_EQ(result.second, "software:bus");
  EXPECT_EQ(result.verdict, MemoryVerdict::not_comparable);
  EXPECT_FALSE(result.difference_share);
  EXPECT_EQ(result.reason,
            "software:bus counts copied bytes, and pmu counts bytes of the memory itself");
  auto devices = software;
  devices.part = "devices";
  EXPECT_EQ(compare_memory(software, devices, MemoryReport::total).reason,
            "they count different copies");
  const auto socket = summary("pmu", MemoryScope::socket, kGiga, kGiga);
  EXPECT_EQ(compare_memory(pmu, socket, MemoryReport::total).verdict,
            MemoryVerdict::not_comparable);
}

TEST(MemoryComparisons, WithoutAValueSayWhichIsMissing) {
  const auto pmu = summary("pmu", MemoryScope::machine, 6 * kGiga, 4 * kGiga);
  const auto reads = compare_memory(pmu, group_of(kGiga), MemoryReport::reads);
  EXPECT_EQ(reads.verdict, MemoryVerdict::not_measured);
  EXPECT_EQ(reads.reason, "resctrl has no reads: resctrl does not tell reads from writes");
}

TEST(MemoryComparisons, AreTheSameFromBothSidesAndBounded) {
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> rate(0, 5 * kGiga);
  const auto any = [&] {
    auto made = summary("pmu", static_cast<MemoryScope>(random() % 3), rate(random), rate(random));
    made.level = static_cast<MemoryLevel>(random() % 2);
    if (random() % 8 == 0) made.rates = MemoryRates::not_measured("luck");
    if (random() % 2 == 0) made.background = MemoryRates{rate(random), 0.0, rate(random) / 10};
    return made;
  };
  for (int round = 0; round < 5000; ++round) {
    const auto one = any();
    const auto other = any();
    const auto report = static_cast<MemoryReport>(random() % 3);
    const CompareLimits limits{rate(random) / (5 * kGiga), rate(random) / 2, 0.3};
    const auto result = compare_memory(one, other, report, limits);
    const auto turned = compare_memory(other, one, report, limits);
    EXPECT_EQ(result.verdict, turned.verdict);
    EXPECT_EQ(result.difference_share, turned.difference_share);
    const bool judged =
        result.verdict == MemoryVerdict::same || result.verdict == MemoryVerdict::different;
    EXPECT_EQ(result.reason.empty(), judged);
    if (result.difference_share) {
      EXPECT_GE(*result.difference_share, 0);
      EXPECT_LE(*result.difference_share, 1);
    }
    if (judged) {
      EXPECT_EQ(result.verdict == MemoryVerdict::same,
                *result.difference_share <= limits.tolerance);
    }
    // What is the same stays the same with more tolerance.
    CompareLimits wider = limits;
    wider.tolerance += 0.1;
    if (result.verdict == MemoryVerdict::same) {
      EXPECT_EQ(compare_memory(one, other, report, wider).verdict, MemoryVerdict::same);
    }
  }
}

TEST(MemoryComparisons, OfManySourcesAreAllPairsOnce) {
  const auto pmu = summary("pmu", MemoryScope::machine, kGiga, kGiga);
  const auto all = compare_all({pmu, pmu, pmu}, MemoryReport::total);
  EXPECT_EQ(all.size(), 3U);
  EXPECT_TRUE(compare_all({pmu}, MemoryReport::total).empty());
}

MemorySummary rates_of(const std::string& source, MemoryScope scope, double total) {
  MemorySummary made;
  made.source = source;
  made.scope = scope;
  made.rates.total = total;
  return made;
}

TEST(ComparisonLimits, AreReachedByTheToleranceAndTheFloorThemselves) {
  const auto one = rates_of("pmu", MemoryScope::machine, 1000e6);
  const auto other = rates_of("load", MemoryScope::machine, 750e6);
  CompareLimits limits;
  limits.floor_bytes_per_s = 750e6;
  limits.tolerance = 0.25;
  auto result = compare_memory(one, other, MemoryReport::total, limits);
  EXPECT_EQ(result.verdict, MemoryVerdict::same);
  EXPECT_EQ(result.first_bytes_per_s, 1000e6);
  EXPECT_EQ(result.second_bytes_per_s, 750e6);
  EXPECT_EQ(result.difference_bytes_per_s, 250e6);
  EXPECT_EQ(result.difference_share, 0.25);
  limits.tolerance = 0.2499;
  EXPECT_EQ(compare_memory(one, other, MemoryReport::total, limits).verdict,
            MemoryVerdict::different);
  limits.floor_bytes_per_s = 751e6;
  result = compare_memory(one, other, MemoryReport::total, limits);
  EXPECT_EQ(result.verdict, MemoryVerdict::refused);
  EXPECT_EQ(result.reason, "below 751 MB/s, other traffic weighs too much");
}

TEST(ComparisonLimits, OfTheBackgroundAreSharesOfWhatWasCounted) {
  auto machine = rates_of("pmu", MemoryScope::machine, 1000e6);
  const auto group = rates_of("resctrl", MemoryScope::group, 750e6);
  CompareLimits limits;
  limits.floor_bytes_per_s = 1;
  limits.background = 0.25;
  auto result = compare_memory(group, machine, MemoryReport::total, limits);
  EXPECT_EQ(result.verdict, MemoryVerdict::refused);
  EXPECT_EQ(result.reason, "pmu counts the whole machine, and its background was not measured");
  machine.background.emplace();
  machine.background->total = 250e6;
  result = compare_memory(group, machine, MemoryReport::total, limits);
  EXPECT_EQ(result.verdict, MemoryVerdict::same) << result.reason;
  EXPECT_EQ(result.first_bytes_per_s, 750e6);
  EXPECT_EQ(result.second_bytes_per_s, 750e6) << "without the background";
  machine.background->total = 251e6;
  result = compare_memory(group, machine, MemoryReport::total, limits);
  EXPECT_EQ(result.verdict, MemoryVerdict::refused);
  EXPECT_EQ(result.reason,
            "pmu counted a background of 251 MB/s, which is too much beside 1000 MB/s");
  const auto socket = rates_of("pmu", MemoryScope::socket, 1000e6);
  EXPECT_EQ(compare_memory(machine, socket, MemoryReport::total, limits).reason,
            "one counts a socket, and the other the machine");
}

TEST(ComparisonTallies, CountEachVerdictOfEachPair) {
  const auto step = [](MemoryVerdict first, MemoryVerdict second) {
    std::vector<MemoryComparison> pairs(2);
    pairs[0].first = "a";
    pairs[0].second = "b";
    pairs[0].verdict = first;
    pairs[1].first = "a";
    pairs[1].second = "c";
    pairs[1].verdict = second;
    return pairs;
  };
  using V = MemoryVerdict;
  const auto counts =
      tally({step(V::same, V::not_comparable), step(V::same, V::same), step(V::same, V::same),
             step(V::different, V::same), step(V::different, V::same), step(V::refused, V::same),
             step(V::not_measured, V::same)});
  ASSERT_EQ(counts.size(), 1U) << "the other pair cannot be compared";
  EXPECT_EQ(counts[0].first, "a");
  EXPECT_EQ(counts[0].second, "b");
  EXPECT_EQ(counts[0].same, 3U);
  EXPECT_EQ(counts[0].different, 2U);
  EXPECT_EQ(counts[0].refused, 1U);
  EXPECT_EQ(counts[0].not_measured, 1U);
  EXPECT_TRUE(tally({}).empty());
  const auto verdict = [](auto same, auto different, auto refused, auto not_measured) {
    MemoryTally sum{"a", "b"};
    sum.same = same;
    sum.different = different;
    sum.refused = refused;
    sum.not_measured = not_measured;
    return std::string(word_of(sum.verdict()));
  };
  EXPECT_EQ(verdict(9, 1, 9, 9), "different");
  EXPECT_EQ(verdict(9, 0, 9, 1), "not_measured");
  EXPECT_EQ(verdict(1, 0, 9, 0), "same");
  EXPECT_EQ(verdict(0, 0, 1, 0), "refused");
}

TEST(MemoryComparisons, RefuseWhatIsNoNumberAndDivideByNoZero) {
  const auto pmu = summary("pmu", MemoryScope::machine, kGiga, kGiga);
  auto other = pmu;
  for (const double none :
       {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    other.rates.total = none;
    const auto compared = compare_memory(pmu, other, MemoryReport::total);
    EXPECT_EQ(compared.verdict, MemoryVerdict::not_measured);
    EXPECT_FALSE(compared.first_bytes_per_s);
  }
  const auto silent = summary("pmu", MemoryScope::machine, 0, 0);
  EXPECT_EQ(compare_memory(silent, silent, MemoryReport::total).difference_share, 0);
}

}  // namespace
}  // namespace shmif::perf::test
