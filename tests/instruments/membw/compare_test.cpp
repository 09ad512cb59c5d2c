// The comparison of two sources: a verdict only for like with like, and none where it would be
// luck.

#include "instruments/membw/measure.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace shmif::perf::test {
namespace {

constexpr double kMega = 1e6;
using V = MemoryVerdict;

/// Rates in MB/s.
MemorySummary summary(const std::string& source, MemoryScope scope, double reads, double writes) {
  MemorySummary made;
  made.source = source;
  made.scope = scope;
  made.rates = {reads * kMega, writes * kMega, (reads + writes) * kMega};
  return made;
}
MemorySummary with_background(MemorySummary made, double reads, double writes) {
  made.background = MemoryRates{reads * kMega, writes * kMega, (reads + writes) * kMega};
  return made;
}
MemorySummary copied(MemorySummary made, const std::string& part) {
  made.part = part;
  made.level = MemoryLevel::copied;
  return made;
}

TEST(MemoryComparisons, HaveAVerdictOfLikeSourcesAndAReasonOtherwise) {
  const auto machine = summary("pmu", MemoryScope::machine, 600, 400);
  const auto group = summary("resctrl", MemoryScope::group, 500, 250);
  auto no_reads = group;
  no_reads.rates.reads = {};
  no_reads.rates.reason = "resctrl does not tell reads from writes";
  const auto load = summary("load", MemoryScope::machine, 500, 250);
  const auto bus = copied(summary("software", MemoryScope::machine, 1, 1), "bus");
  constexpr auto kReads = MemoryReport::reads, kWrites = MemoryReport::writes;
  constexpr auto kTotal = MemoryReport::total;
  const CompareLimits limits{
      .tolerance = 0.25, .floor_bytes_per_s = 250 * kMega, .background = 0.25};
  auto near = limits, high = limits;
  near.tolerance = 0.2499;
  high.floor_bytes_per_s = 751 * kMega;
  struct Case {
    MemorySummary first, second;
    MemoryReport report;
    CompareLimits limits;
    V verdict;
    double difference;  ///< in MB/s
    const char* reason = "";
  };
  for (const Case& each : std::initializer_list<Case>{
           {machine, load, kTotal, limits, V::same, 250},
           {machine, load, kTotal, near, V::different, 250},
           {machine, load, kReads, limits, V::same, 100},
           {machine, load, kWrites, limits, V::different, 150},
           {machine, load, kTotal, high, V::refused, 250,
            "below 751 MB/s, other traffic weighs too much"},
           {group, machine, kTotal, limits, V::refused, 0,
            "pmu counts the whole machine, and its background was not measured"},
           {group, with_background(machine, 150, 100), kTotal, limits, V::same, 0},
           {group, with_background(machine, 50, 100), kReads, limits, V::same, 50},
           {group, with_background(machine, 150, 60), kWrites, limits, V::different, 90},
           {with_background(machine, 150, 101), group, kTotal, limits, V::refused, 0,
            "pmu counted a background of 251 MB/s, which is too much beside 1000 MB/s"},
           {machine, bus, kTotal, limits, V::not_comparable, 0,
            "software:bus counts copied bytes, and pmu counts bytes of the memory itself"},
           {bus, copied(bus, "devices"), kTotal, limits, V::not_comparable, 0,
            "they count different copies"},
           {machine, summary("pmu", MemoryScope::socket, 600, 400), kTotal, limits,
            V::not_comparable, 0, "one counts a socket, and the other the machine"},
           {machine, no_reads, kReads, limits, V::not_measured, 0,
            "resctrl has no reads: resctrl does not tell reads from writes"}}) {
    const auto found = compare_memory(each.first, each.second, each.report, each.limits);
    SCOPED_TRACE(found.first + " and " + found.second + ": " + found.reason);
    EXPECT_EQ(found.first, each.first.label());
    EXPECT_EQ(found.second, each.second.label());
    EXPECT_EQ(word_of(found.verdict), std::string(word_of(each.verdict)));
    EXPECT_DOUBLE_EQ(found.difference_bytes_per_s.value_or(0), each.difference * kMega);
    EXPECT_EQ(found.reason, each.reason);
  }
  const auto shown = compare_memory(machine, load, kTotal, limits);
  EXPECT_EQ(shown.first_bytes_per_s, 1000 * kMega);
  EXPECT_EQ(shown.second_bytes_per_s, 750 * kMega);
  EXPECT_EQ(shown.difference_share, 0.25);
  const auto less = compare_memory(group, with_background(machine, 150, 100), kTotal, limits);
  EXPECT_EQ(less.second_bytes_per_s, 750 * kMega) << "without the background";
  EXPECT_EQ(compare_all({machine, machine, machine}, kTotal).size(), 3U) << "each pair once";
  EXPECT_TRUE(compare_all({machine}, kTotal).empty());
}

TEST(MemoryComparisons, AreTheSameFromBothSidesAndBounded) {
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> rate(0, 5000);
  const auto any = [&] {
    auto made = summary("pmu", static_cast<MemoryScope>(random() % 3), rate(random), rate(random));
    made.level = static_cast<MemoryLevel>(random() % 2);
    if (random() % 8 == 0) made.rates = MemoryRates::not_measured("luck");
    if (random() % 2 == 0)
      made.background = MemoryRates{rate(random) * kMega, 0.0, rate(random) * kMega / 10};
    return made;
  };
  for (int round = 0; round < 5000; ++round) {
    const auto one = any();
    const auto other = any();
    const auto report = static_cast<MemoryReport>(random() % 3);
    const CompareLimits limits{rate(random) / 5000, rate(random) * kMega / 2, 0.3};
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
  const auto pmu = summary("pmu", MemoryScope::machine, 1000, 1000);
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
