// The comparison of two sources: a verdict only for like with like, and none where it would be
// luck.

#include "perf/membw/compare.hpp"

#include <gtest/gtest.h>

#include <random>

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

TEST(MemoryComparisons, OfTheMachineAndAGroupSubtractTheBackground) {
  auto pmu = summary("pmu", MemoryScope::machine, 6 * kGiga, 4 * kGiga);
  const auto resctrl = group_of(9.3 * kGiga);
  const auto unknown = compare_memory(pmu, resctrl, MemoryReport::total);
  EXPECT_EQ(unknown.verdict, MemoryVerdict::refused);
  EXPECT_EQ(unknown.reason, "pmu counts the whole machine, and its background was not measured");
  EXPECT_FALSE(unknown.difference_share);
  pmu.background = MemoryRates{0.5 * kGiga, 0.3 * kGiga, 0.8 * kGiga};
  const auto known = compare_memory(pmu, resctrl, MemoryReport::total);
  EXPECT_EQ(known.verdict, MemoryVerdict::same);
  EXPECT_NEAR(known.difference_bytes_per_s.value(), 0.1 * kGiga, 1);
  pmu.background->total = 1.5 * kGiga;
  const auto loud = compare_memory(resctrl, pmu, MemoryReport::total);
  EXPECT_EQ(loud.verdict, MemoryVerdict::refused);
  EXPECT_EQ(loud.reason,
            "pmu counted a background of 1500 MB/s, which is too much beside 1e+04 MB/s");
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

TEST(MemoryComparisons, BelowTheFloorAreRefusedAndStillShowTheDifference) {
  const auto quiet = summary("pmu", MemoryScope::machine, 1e6, 1e6);
  auto other = quiet;
  other.rates.total = 1e6;
  const auto result = compare_memory(quiet, other, MemoryReport::total);
  EXPECT_EQ(result.verdict, MemoryVerdict::refused);
  EXPECT_EQ(result.difference_share, 0.5);
  EXPECT_EQ(result.reason, "below 786.4 MB/s, other traffic weighs too much");
  const auto loud = summary("pmu", MemoryScope::machine, kGiga, kGiga);
  EXPECT_EQ(compare_memory(loud, quiet, MemoryReport::total).verdict, MemoryVerdict::refused);
  const auto silent = summary("pmu", MemoryScope::machine, 0, 0);
  EXPECT_EQ(compare_memory(silent, silent, MemoryReport::total).difference_share, 0)
      << "no division by zero";
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

}  // namespace
}  // namespace shmif::perf::test
