#include <gtest/gtest.h>
#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "perf/stats/confidence.hpp"

namespace shmif::perf {
namespace {

TEST(Student, QuantilesAreThoseOfTheTables) {
  struct Row {
    double freedom, p, t;
  };
  // NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.2.
  constexpr std::array rows{Row{1, 0.975, 12.706}, Row{2, 0.975, 4.303},  Row{4, 0.975, 2.776},
                            Row{9, 0.975, 2.262},  Row{29, 0.975, 2.045}, Row{100, 0.975, 1.984},
                            Row{1, 0.9, 3.078},    Row{5, 0.95, 2.015},   Row{10, 0.99, 2.764},
                            Row{3, 0.995, 5.841},  Row{60, 0.995, 2.660}};
  for (const Row& row : rows) {
    EXPECT_NEAR(student_quantile(row.p, row.freedom), row.t, 0.0006) << row.freedom << " " << row.p;
  }
}

TEST(Student, QuantileAndShareAreInverse) {
  for (const double freedom : {1.0, 1.7, 5.3, 40.0, 3000.0}) {
    for (const double p : {0.0001, 0.2, 0.5, 0.6, 0.999}) {
      EXPECT_NEAR(student_share(student_quantile(p, freedom), freedom), p, 1e-9);
    }
  }
}

TEST(Confidence, AnEstimateOfSeveralValues) {
  const std::vector<double> values{4, 2, 8, 6, 10};
  const auto found = estimate(values);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->count, 5U);
  EXPECT_EQ(found->mean, 6);
  EXPECT_EQ(found->median, 6);
  EXPECT_EQ(found->min, 2);
  EXPECT_EQ(found->max, 10);
  EXPECT_NEAR(*found->deviation, std::sqrt(10.0), 1e-12);
  EXPECT_NEAR(*found->half_width, 2.7764451052 * std::sqrt(10.0 / 5), 1e-6);
  EXPECT_NEAR(*found->half_width_share(), *found->half_width / 6, 1e-12);
  EXPECT_EQ(estimate(std::vector<double>{1, 2, 3, 10})->median, 2.5);
}

TEST(Confidence, OfOneValueNoSpreadIsKnownAndOfNoneNothing) {
  const auto one = estimate(std::vector<double>{5});
  ASSERT_TRUE(one);
  EXPECT_EQ(one->mean, 5);
  EXPECT_FALSE(one->deviation);
  EXPECT_FALSE(one->half_width);
  EXPECT_FALSE(one->half_width_share());
  EXPECT_FALSE(estimate({}));
  EXPECT_FALSE(estimate(std::vector<double>{-1, 1})->half_width_share()) << "a share of 0";
}

TEST(Confidence, AShareOfANegativeMeanIsAsWideAsThatOfAPositiveOne) {
  const auto positive = estimate(std::vector<double>{1, 2, 6});
  const auto negative = estimate(std::vector<double>{-1, -2, -6});
  EXPECT_GT(*negative->half_width_share(), 0);
  EXPECT_DOUBLE_EQ(*negative->half_width_share(), *positive->half_width_share());
  EXPECT_EQ(negative->median, -2);
  EXPECT_EQ(negative->min, -6);
  EXPECT_EQ(negative->max, -1);
}

TEST(Confidence, NinetyFiveOfAHundredIntervalsHoldTheTruth) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> draw(100, 15);
  constexpr int kTrials = 4000;
  int held = 0;
  for (int i = 0; i < kTrials; ++i) {
    std::vector<double> values(6);
    for (double& v : values) v = draw(random);
    const auto found = estimate(values);
    held += std::abs(found->mean - 100) <= *found->half_width ? 1 : 0;
  }
  EXPECT_NEAR(held, kTrials * 0.95, 5 * std::sqrt(kTrials * 0.95 * 0.05));
}

TEST(Welch, FindsDifferencesAndTheirSize) {
  const std::vector<double> a{27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1,
                              21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4};
  const std::vector<double> b{27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0,
                              24.8, 20.2, 21.9, 22.1, 22.9, 30.5, 24.5};
  const auto found = difference(a, b);
  ASSERT_TRUE(found);
  // t = 2.8586 with 27.89 degrees of freedom; p by integrating the density in 200,000 steps.
  EXPECT_NEAR(found->p, 0.00796224324646, 1e-11);
  EXPECT_NEAR(found->of_means, 2.84, 1e-9);
  EXPECT_TRUE(found->significant);
  EXPECT_LT(found->half_width, found->of_means);
  EXPECT_FALSE(difference(a, b, 0.999)->significant);
  EXPECT_GT(difference(a, b, 0.999)->half_width, found->of_means);
  EXPECT_EQ(difference(b, a)->of_means, -found->of_means);
  EXPECT_EQ(difference(b, a)->p, found->p);
}

TEST(Welch, DoesNotTakeUnequalSpreadsForOne) {
  const std::vector<double> wide{17.2, 20.9, 22.6, 18.1, 21.7, 21.4, 23.5, 24.2, 14.7, 21.8};
  const std::vector<double> narrow{21.5, 22.8, 21.0, 23.0, 21.6, 23.6, 22.5, 20.7, 23.4, 21.8,
                                   20.7, 21.7, 21.5, 22.5, 23.6, 21.5, 22.5, 23.5, 21.5, 21.8};
  const auto found = difference(wide, narrow);  // 9.90 degrees of freedom, not 28
  EXPECT_NEAR(found->p, 0.148841696606974, 1e-11);
  EXPECT_FALSE(found->significant);
}

TEST(Welch, FindsNoneWhereThereIsNoneBeyondChance) {
  std::mt19937_64 random(2);
  std::normal_distribution<double> draw(100, 15);
  constexpr int kTrials = 4000;
  int found = 0;
  for (int i = 0; i < kTrials; ++i) {
    std::vector<double> a(5);
    std::vector<double> b(9);
    for (double& v : a) v = draw(random);
    for (double& v : b) v = draw(random);
    found += difference(a, b)->significant ? 1 : 0;
  }
  EXPECT_NEAR(found, kTrials * 0.05, 5 * std::sqrt(kTrials * 0.95 * 0.05));
}

/// A series in which each value is drawn to the one before it (autoregressive, of order 1).
std::vector<double> series(std::mt19937_64& random, std::size_t length, double correlation,
                           double mean) {
  std::normal_distribution<double> draw(0, 0.02 * mean);
  std::vector<double> values(length);
  double away = draw(random);
  for (double& value : values) {
    value = mean + away;
    away = correlation * away + draw(random) * std::sqrt(1 - correlation * correlation);
  }
  return values;
}

// What compare is to be relied on for: of 100 pairs of equal runs at most 5 are flagged, and of 100
// with a true difference of 5 % at least 90, whose intervals wander by 2 %.
TEST(Series, OfAHundredEqualPairsAtMostFiveDifferAndOfAHundredOthersNinety) {
  constexpr int kHundreds = 2;
  struct Case {
    std::size_t intervals;
    double correlation;
  };
  for (const Case& of : {Case{30, 0}, Case{30, 0.5}, Case{60, 0.7}, Case{200, 0.9}}) {
    std::mt19937_64 random(7);
    int by_welch = 0;
    int flagged = 0;
    int found = 0;
    for (int i = 0; i < 100 * kHundreds; ++i) {
      const auto before = series(random, of.intervals, of.correlation, 100);
      const auto same = series(random, of.intervals, of.correlation, 100);
      const auto less = series(random, of.intervals, of.correlation, 95);
      const auto is = [](const auto& differ) { return differ && differ->significant ? 1 : 0; };
      by_welch += is(difference(before, same));
      flagged += is(difference_of_series(before, same));
      found += is(difference_of_series(before, less));
    }
    EXPECT_LE(flagged, 5 * kHundreds) << of.intervals << ' ' << of.correlation;
    EXPECT_GE(found, 90 * kHundreds) << of.intervals << ' ' << of.correlation;
    if (of.correlation > 0) {
      EXPECT_GT(by_welch, 20 * kHundreds) << "taken for independent";
    }
  }
}

// The numbers are those of the formulas in confidence.hpp, computed by another program.
TEST(Series, CountAsManyIndependentValuesAsTheirNeighboursAndPartsTell) {
  const std::vector<double> near{10, 12, 11, 9, 8, 10, 13, 12, 10, 11, 9, 8, 12, 11};
  const std::vector<double> noise{11, 12, 10, 9,  13, 10, 10, 12, 11, 8, 9, 12,
                                  10, 13, 12, 10, 9,  11, 14, 10, 12, 9, 8, 11};
  const std::vector<double> beat{5, 9, 5, 9, 5, 9, 5, 9, 5, 9, 6, 9};
  const std::vector<double> few{7, 3, 8, 2, 9};
  const std::vector<double> peak{20, 20, 20, 21, 20, 20, 20, 20, 20, 20, 29, 20,
                                 20, 20, 20, 20, 20, 20, 20, 20, 20, 21, 20, 20};
  const std::vector<double> pairs{10, 10, 12, 12, 10, 10, 12, 12, 10, 10,
                                  12, 12, 10, 10, 12, 12, 10, 10, 12, 12};
  const std::vector<double> drift{0, 3, 0, 3, 1, 4, 1, 4, 2, 5, 2, 5,
                                  3, 6, 3, 6, 4, 7, 4, 7, 5, 8, 5, 8};
  EXPECT_NEAR(correlation_time(drift), 2.596774193548387, 1e-12) << "by its sixths";
  EXPECT_NEAR(correlation_time(near), 1.9440389294403888, 1e-12);
  EXPECT_NEAR(correlation_time(pairs), 1.2666666666666668, 1e-12);
  EXPECT_EQ(correlation_time(noise), 1);
  EXPECT_EQ(correlation_time(beat), 1);
  struct Row {
    const std::vector<double>&before, &after;
    double of_means, error, freedom;
  };
  for (const Row& row :
       {Row{near, beat, -3.345238095238096, 1.1737877907772674, 8.40659163148098},
        {beat, noise, 3.583333333333333, 0.7149203529842406, 15.964882197606228},
        {few, peak, 14.658333333333331, 2.2896961224872907, 4.649604154529972},
        {peak, pairs, -9.458333333333332, 0.6784718061174854, 6.801833342595769},
        {pairs, few, -5.2, 2.2175697640351677, 4.112092267450617},
        {near, pairs, 0.5714285714285712, 1.0512448137151449, 5.664819624975139}}) {
    SCOPED_TRACE(row.of_means);
    const auto found = difference_of_series(row.before, row.after);
    ASSERT_TRUE(found);
    EXPECT_NEAR(found->of_means, row.of_means, 1e-12);
    EXPECT_NEAR(found->half_width, student_quantile(0.975, row.freedom) * row.error, 1e-9);
    EXPECT_NEAR(found->p, 2 * student_share(-std::abs(row.of_means) / row.error, row.freedom),
                1e-9);
    EXPECT_EQ(found->significant, found->p < 0.05);
  }
}

TEST(Series, ThatHangsTogetherAllTheWayTellsNothing) {
  const std::vector<double> drifts{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  const std::vector<double> others{2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  EXPECT_GT(correlation_time(drifts), 5);
  EXPECT_FALSE(difference_of_series(drifts, others));
  EXPECT_EQ(correlation_time(std::vector<double>{3, 3, 3, 3, 3}), 1);
  EXPECT_FALSE(difference_of_series(std::vector<double>{1}, drifts));
  const std::vector<double> steady{5, 6, 4, 6, 5, 4, 6, 4, 5, 6};
  EXPECT_TRUE(difference_of_series(steady, steady));
  EXPECT_FALSE(difference_of_series(steady, drifts)) << "one of both is enough";
  EXPECT_FALSE(difference_of_series(drifts, steady));
  EXPECT_FALSE(difference_of_series(steady, std::vector<double>{1}));
}

TEST(Welch, KnowsNothingOfSingleValuesAndAllOfConstants) {
  const std::vector<double> one{1};
  const std::vector<double> ones{1, 1, 1};
  const std::vector<double> twos{2, 2};
  EXPECT_FALSE(difference(one, ones));
  EXPECT_FALSE(difference(ones, one));
  EXPECT_TRUE(difference(ones, twos)->significant);
  EXPECT_EQ(difference(ones, twos)->of_means, 1);
  EXPECT_FALSE(difference(ones, ones)->significant);
}

using namespace std::chrono_literals;

SteadyState wanted(std::string_view text) {
  return parse_steady_state(text).value();
}

/// The second in which it was reached; 0: never.
unsigned reached_at(SteadyStateDetector& state, const std::vector<double>& frames) {
  for (unsigned second = 1; second <= frames.size(); ++second) {
    if (state.note(frames[second - 1], frames[second - 1] * 512)) return second;
  }
  return 0;
}

TEST(SteadyStateDetector, IsReachedWhenNoRateOfTheWindowIsFarFromTheirMean) {
  SteadyStateDetector state(wanted("iops:10%"), 3s, 0s);
  EXPECT_EQ(reached_at(state, {1000, 1000, 500, 800, 1000, 990, 1010}), 7U);
  EXPECT_TRUE(state.reached());
  EXPECT_NEAR(*state.figure(), 0.01, 1e-9);
  EXPECT_EQ(state.describe(), "reached at 7 s: iops deviation 1 % (limit 10 %, over 3 s)");
}

TEST(SteadyStateDetector, IsReachedWhenTheLineThroughTheRatesIsFlat) {
  SteadyStateDetector state(wanted("iops_slope:1%"), 4s, 0s);
  // Rising by 100 a second, then to and fro around 1000: a slope forgives that.
  EXPECT_EQ(reached_at(state, {700, 800, 900, 1000, 1100, 900, 900, 1100}), 8U);
  EXPECT_EQ(*state.figure(), 0);
  SteadyStateDetector deviation(wanted("iops:1%"), 4s, 0s);
  EXPECT_EQ(reached_at(deviation, {700, 800, 900, 1000, 1100, 900, 900, 1100}), 0U);
}

TEST(SteadyStateDetector, FallingIsNotFlat) {
  SteadyStateDetector state(wanted("iops_slope:1%"), 3s, 0s);
  EXPECT_EQ(reached_at(state, {1000, 900, 800, 700}), 0U);
  EXPECT_NEAR(*state.figure(), 0.125, 1e-9);
  EXPECT_EQ(state.describe(), "not reached: iops slope 12.5 % a second (limit 1 %, over 3 s)");
}

TEST(SteadyStateDetector, LimitsWithoutPerCentAreRates) {
  SteadyStateDetector frames(wanted("iops:15"), 2s, 0s);
  EXPECT_EQ(reached_at(frames, {1000, 1040, 1010}), 3U);
  EXPECT_EQ(*frames.figure(), 15) << "on the limit is within it";
  SteadyStateDetector bits(wanted("bw:7681"), 2s, 0s);
  EXPECT_EQ(reached_at(bits, {1000, 1040, 1010}), 3U) << "64 bytes of 8 bits for each frame";
  EXPECT_EQ(*bits.figure(), 7680);
}

TEST(SteadyStateDetector, ASlopeIsBelowItsLimitAndADeviationUpToIt) {
  SteadyStateDetector slope(wanted("iops_slope:10"), 3s, 0s);
  EXPECT_EQ(reached_at(slope, {1000, 1010, 1020, 1029}), 4U);
  EXPECT_EQ(*slope.figure(), 9.5);
  SteadyStateDetector deviation(wanted("iops:10"), 3s, 0s);
  EXPECT_EQ(reached_at(deviation, {989, 1000, 1011}), 0U);
  SteadyStateDetector equal(wanted("iops:10"), 3s, 0s);
  EXPECT_EQ(reached_at(equal, {990, 1000, 1010}), 3U);
  EXPECT_EQ(*equal.figure(), 10);
}

TEST(SteadyStateDetector, TheRampIsNotLookedAt) {
  SteadyStateDetector state(wanted("iops:1%"), 2s, 3s);
  EXPECT_EQ(reached_at(state, {5, 5, 5, 5, 5}), 5U);
}

TEST(SteadyStateDetector, AWindowThatIsNotFullOrWithoutTrafficHasNotSettled) {
  SteadyStateDetector state(wanted("iops:50%"), 3s, 0s);
  EXPECT_EQ(reached_at(state, {100, 100}), 0U);
  EXPECT_FALSE(state.figure());
  EXPECT_EQ(state.describe(), "not reached: there were never 3 s with traffic after a ramp of 0 s");
  SteadyStateDetector stalled(wanted("iops_slope:50%"), 3s, 0s);
  EXPECT_EQ(reached_at(stalled, {0, 0, 0, 0, 0, 0}), 0U) << "a total stall is as flat as can be";
}

TEST(SteadyStateDetector, PartsOfASecondAreWholeOnes) {
  const auto seconds = [](std::chrono::nanoseconds window, std::chrono::nanoseconds ramp) {
    const SteadyStateDetector state(wanted("iops:1%"), window, ramp);
    return std::pair(state.window_seconds(), state.ramp_seconds());
  };
  EXPECT_EQ(seconds(2500ms, 1ns), (std::pair<std::uint64_t, std::uint64_t>(3, 1)));
  EXPECT_EQ(seconds(3s, 1s), (std::pair<std::uint64_t, std::uint64_t>(3, 1)));
  EXPECT_EQ(seconds(3001ms, 1001ms), (std::pair<std::uint64_t, std::uint64_t>(4, 2)));
  EXPECT_EQ(seconds(1ms, 0s), (std::pair<std::uint64_t, std::uint64_t>(2, 0)));
}

TEST(SteadyStateDetector, AfterAStallTheLastFigureIsThatOfTrafficAndTheWindowGoesOn) {
  SteadyStateDetector state(wanted("bw:1%"), 2s, 0s);
  EXPECT_EQ(reached_at(state, {100, 300, 0, 0}), 0U);
  EXPECT_DOUBLE_EQ(*state.figure(), 1) << "of 300 and 0";
  EXPECT_EQ(state.describe(), "not reached: bw deviation 100 % (limit 1 %, over 2 s)");
  EXPECT_EQ(reached_at(state, {0, 200, 200}), 3U);
  EXPECT_EQ(state.reached_at_seconds(), 7U);
}

TEST(SteadyStateDetector, OnceReachedItStays) {
  SteadyStateDetector state(wanted("iops:1%"), 2s, 0s);
  EXPECT_EQ(reached_at(state, {5, 5}), 2U);
  EXPECT_TRUE(state.note(500, 0));
  EXPECT_EQ(*state.figure(), 0);
}

}  // namespace

}  // namespace shmif::perf
