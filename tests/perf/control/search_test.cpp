#include "perf/control/search.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <set>
#include <vector>

namespace shmif::perf {
namespace {

using Line = std::function<TrialResult(double fps)>;

TrialResult trial(double offered, double loss, std::optional<double> latency_ns = {}) {
  TrialResult result;
  result.offered_fps = offered;
  result.achieved_fps = offered;
  result.loss_share = loss;
  result.latency_percentile_ns = latency_ns;
  return result;
}

/// Drops what is more than it carries.
Line link_of(double capacity_fps) {
  return [=](double fps) { return trial(fps, fps <= capacity_fps ? 0 : 1 - capacity_fps / fps); };
}

SearchResult run(const RateSearchOptions& options, const Line& link, unsigned max_trials = 60) {
  RateSearch search(options);
  for (unsigned trials = 0; const auto fps = search.next_fps(); ++trials) {
    EXPECT_LT(trials, max_trials) << "a search without end";
    if (trials >= max_trials) break;
    search.note(link(*fps));
  }
  return search.result();
}

TEST(RateSearch, FindsTheRateOfALinkWithinItsResolutionFromBelow) {
  for (const double capacity : {12'345.0, 499'999.0, 500'000.0, 987'654.0, 6'000.0}) {
    for (const double resolution : {0.005, 0.001}) {
      const SearchResult found = run(
          {.max_fps = 1e6, .resolution = resolution, .mean_frame_bytes = 100}, link_of(capacity));
      ASSERT_TRUE(found.found_fps) << capacity;
      EXPECT_LE(*found.found_fps, capacity) << "only what has passed counts";
      EXPECT_GE(*found.found_fps, std::floor(capacity * (1 - resolution)) - 1);
      EXPECT_EQ(*found.found_bps, *found.found_fps * 800);
      EXPECT_FALSE(found.limited_by_maximum);
      EXPECT_EQ(found.why_none, "");
    }
  }
}

TEST(RateSearch, FindsARateWithinOnePerCentOfItself) {
  const SearchResult found = run({.max_fps = 1e6}, link_of(730'000));
  EXPECT_NEAR(*found.found_fps, 730'000, 7'300);
  std::set<double> rates;
  for (const TrialResult& each : found.trials) rates.insert(each.offered_fps);
  EXPECT_LE(rates.size(), 4U) << "the maximum, and both sides of what it carried then";
}

/// Carries so much, and keeps `queue` frames; counts whole frames of a trial.
Line line_of(double capacity_fps, double seconds, double queue) {
  return [=](double fps) {
    const double sent = std::max(1.0, std::floor(fps * seconds));
    const double lost = std::max(0.0, sent - std::floor(capacity_fps * seconds) - queue);
    return trial(fps, lost / sent);
  };
}

TEST(RateSearch, FindsTheRateOfALineThatIsFarSlowerThanItsSender) {
  // 20 Mbit/s of frames of 60 and 1514 bytes, and a line of a hundred frames a second.
  for (const double capacity : {41'667.0, 1'651.0, 100.0}) {
    for (const double max : {5e7, 3e6, 200.0 + capacity}) {
      const SearchResult found =
          run({.max_fps = max, .trial_seconds = 2}, line_of(capacity, 2, 0), 20);
      ASSERT_TRUE(found.found_fps) << capacity << ' ' << found.why_none;
      EXPECT_LE(*found.found_fps, capacity + 1);
      EXPECT_GE(*found.found_fps, capacity - std::max(1.0, 0.005 * capacity)) << max;
    }
  }
}

TEST(RateSearch, AQueueThatHidesALossLeadsItAstrayByNoMoreThanTheQueue) {
  for (const double capacity : {41'667.0, 100.0}) {
    const double queue = capacity / 20;
    const SearchResult found =
        run({.max_fps = 5e6, .trial_seconds = 2}, line_of(capacity, 2, queue), 30);
    ASSERT_TRUE(found.found_fps) << found.why_none;
    EXPECT_NEAR(*found.found_fps, capacity + queue / 2, 2 + capacity * 0.006);
  }
}

TEST(RateSearch, ALinkWhoseLossGrowsLongBeforeItsLimitIsHalvedTo) {
  // What it carries at too high a rate is no hint: receivers that are overrun lose most.
  const SearchResult found =
      run({.max_fps = 1e6}, [](double fps) { return trial(fps, fps <= 90'000 ? 0 : 0.97); });
  ASSERT_TRUE(found.found_fps) << found.why_none;
  EXPECT_NEAR(*found.found_fps, 90'000, 460);
}

TEST(RateSearch, TriesTheMaximumFirstAndIsContentWithIt) {
  const SearchResult found = run({.max_fps = 5000, .job = "a", .frame_bytes = 64}, link_of(1e9));
  ASSERT_EQ(found.trials.size(), 1U);
  EXPECT_EQ(found.found_fps, 5000);
  EXPECT_TRUE(found.limited_by_maximum) << "the link may carry more";
  EXPECT_FALSE(found.found_bps) << "nobody said how long frames are";
  EXPECT_EQ(found.trials[0].job, "a");
  EXPECT_EQ(found.trials[0].frame_bytes, 64U);
  EXPECT_TRUE(found.trials[0].passed);
}

TEST(RateSearch, ALinkThatAlwaysLosesHasNoRateAndTheResultSaysWhy) {
  const SearchResult found = run({.max_fps = 1e6}, [](double fps) { return trial(fps, 0.02); });
  EXPECT_FALSE(found.found_fps);
  EXPECT_EQ(found.why_none,
            "no rate passed, not even 14596 frames/s: there, 2 % of the frames were lost, and 0 % "
            "was allowed");
  for (const TrialResult& one : found.trials) EXPECT_FALSE(one.passed);
}

TEST(RateSearch, SomeLossMayBeAllowed) {
  const Line lossy = [](double fps) { return trial(fps, fps > 300'000 ? 0.011 : 0.009); };
  const SearchResult pdr = run({.kind = Search::pdr, .max_fps = 1e6, .allowed_loss = 0.01}, lossy);
  ASSERT_TRUE(pdr.found_fps);
  EXPECT_NEAR(*pdr.found_fps, 300'000, 5'000);
  EXPECT_FALSE(run({.kind = Search::ndr, .max_fps = 1e6, .allowed_loss = 0.01}, lossy).found_fps)
      << "no loss is no loss";
}

TEST(RateSearch, KeepsAPercentileOfLatencyUnderItsBound) {
  // A queue: latency grows beyond all bounds at the capacity.
  const Line queue = [](double fps) { return trial(fps, 0, 10'000 / (1 - fps / 1.1e6)); };
  const SearchResult found =
      run({.kind = Search::latency_target, .max_fps = 1e6, .latency_bound_ns = 50'000}, queue);
  EXPECT_NEAR(*found.found_fps, 1.1e6 * 0.8, 5'000);
  const SearchResult none =
      run({.kind = Search::latency_target, .max_fps = 1e6, .latency_bound_ns = 9'000}, queue);
  EXPECT_FALSE(none.found_fps);
  EXPECT_NE(none.why_none.find("99 % of the frames took up to 10.1"), std::string::npos)
      << none.why_none;
}

TEST(RateSearch, WhatNobodyMeasuredHasNotPassed) {
  const SearchResult found =
      run({.kind = Search::latency_target, .max_fps = 1e6, .latency_bound_ns = 1e12},
          [](double fps) { return trial(fps, 0.5); });
  EXPECT_FALSE(found.found_fps);
  EXPECT_NE(found.why_none.find("less than 99 % of the frames arrived"), std::string::npos);
}

TEST(RateSearch, ARateThatTheSenderDidNotReachWasNotTried) {
  const SearchResult found = run({.max_fps = 1e6}, [](double fps) {
    TrialResult result = trial(fps, 0);
    result.achieved_fps = std::min(fps, 400'000.0);
    return result;
  });
  ASSERT_TRUE(found.found_fps);
  EXPECT_NEAR(*found.found_fps, 400'000, 5'000);
  const SearchResult slow = run({.max_fps = 10}, [](double fps) {
    TrialResult result = trial(fps, 0);
    result.achieved_fps = fps - 0.5;  // 19 frames in two seconds
    return result;
  });
  EXPECT_EQ(slow.found_fps, 10);
}

TEST(RateSearch, ATrialThatFailsByAHairIsRepeatedOnce) {
  // Every other trial loses one frame in ten thousand, whatever the rate.
  const auto noisy = [](double capacity, unsigned& trials) {
    return [capacity, &trials](double fps) {
      if (fps > capacity) return trial(fps, 1 - capacity / fps);
      return trial(fps, ++trials % 2 == 1 ? 0.0001 : 0);
    };
  };
  unsigned trials = 0;
  const SearchResult found = run({.max_fps = 1e6}, noisy(640'000, trials));
  ASSERT_TRUE(found.found_fps);
  EXPECT_NEAR(*found.found_fps, 640'000, 5'000);
  std::size_t failed_and_passed = 0;
  for (std::size_t i = 1; i < found.trials.size(); ++i) {
    failed_and_passed += !found.trials[i - 1].passed && found.trials[i].passed &&
                                 found.trials[i - 1].offered_fps == found.trials[i].offered_fps
                             ? 1
                             : 0;
  }
  EXPECT_GT(failed_and_passed, 0U) << "both trials are told of";
}

TEST(RateSearch, ATrialWhoseSenderWasOffItsCpuIsRepeatedTwice) {
  // It sent a burst, of which much is lost, in two trials of three.
  const auto disturbed = [](double late_ns, unsigned& trials) {
    return [late_ns, &trials](double fps) {
      const bool fine = fps <= 640'000 && ++trials % 3 == 0;
      TrialResult result = trial(fps, fine ? 0 : 0.05);
      result.sender_late_ns = fine ? 1e5 : late_ns;
      return result;
    };
  };
  unsigned trials = 0;
  const SearchResult found = run({.max_fps = 1e6}, disturbed(2e7, trials));
  EXPECT_NEAR(found.found_fps.value_or(0), 640'000, 5'000);
  trials = 0;
  const SearchResult undisturbed = run({.max_fps = 1e6}, disturbed(1e5, trials));
  EXPECT_LT(undisturbed.found_fps.value_or(0), 600'000) << "such losses are the link's";
}

TEST(RateSearch, ARateThatIsTooLowForTheSendersSakeIsDoubted) {
  /// Above 400,000, the sender is so late and reaches this share of the rate, and 5 % are lost.
  const auto found = [](double late_ns, double reached, double lost) {
    return run({.max_fps = 1e6}, [=](double fps) {
      const bool fine = fps <= 400'000;
      TrialResult result = trial(fps, fine ? 0 : lost);
      result.sender_late_ns = fine ? 1e5 : late_ns;
      if (!fine) result.achieved_fps *= reached;
      return result;
    });
  };
  EXPECT_EQ(doubt_of(found(2.13e7, 1, 0.05)),
            "the sender was off its CPU and up to 21.3 ms late, so it sent a burst");
  EXPECT_EQ(doubt_of(found(1e5, 1, 0.05)), "") << "such losses are the link's";
  EXPECT_EQ(doubt_of(found(3e6, 1, 0.05)), "");
  const SearchResult slow = found(1e5, 0.5, 0);
  EXPECT_THAT(doubt_of(slow), testing::StartsWith("the sender itself reached only "));
  EXPECT_NEAR(slow.found_fps.value_or(0), 400'000, 5'000);
  EXPECT_EQ(doubt_of(found(2e7, 1, 0)), "") << "the highest rate passed";
  // What was late and passed when it was repeated, or at a higher rate, decides nothing.
  SearchResult search;
  search.found_fps = 100;
  const auto add = [&](double fps, bool passed, double late_ns) {
    search.trials.push_back(trial(fps, passed ? 0 : 0.1));
    search.trials.back().passed = passed;
    search.trials.back().sender_late_ns = late_ns;
  };
  add(300, false, 9e6);
  add(200, false, 9e6);
  add(200, false, 1e5);
  add(100, false, 9e6);
  add(100, true, 9e6);
  EXPECT_EQ(doubt_of(search), "");
  add(150, false, 8e6);
  EXPECT_EQ(doubt_of(search), "the sender was off its CPU and up to 8 ms late, so it sent a burst");
  add(140, false, 5e6);
  EXPECT_EQ(doubt_of(search), "") << "a frame every 7 ms: the late one had left before the next";
  search.found_fps.reset();
  EXPECT_EQ(doubt_of(search), "") << "why_none says it";
}

TEST(RateSearch, ATrialThatFailsTwiceHasFailed) {
  unsigned trials = 0;
  const SearchResult found = run({.max_fps = 1000, .resolution = 0.1}, [&](double fps) {
    ++trials;
    return trial(fps, 0.0001);
  });
  EXPECT_FALSE(found.found_fps);
  std::set<double> rates;
  for (const TrialResult& one : found.trials) rates.insert(one.offered_fps);
  EXPECT_EQ(trials, 2 * rates.size()) << "each rate twice";
  EXPECT_LT(*rates.begin(), 20) << "far below what it carried";
}

TEST(RateSearch, NoNoiseMakesARatePassWithoutAPassedTrial) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 200; ++i) {
    RateSearch search({.max_fps = 1e6, .resolution = 0.01});
    double best = 0;
    while (const auto fps = search.next_fps()) {
      const double loss = random() % 2 == 0 ? 0 : static_cast<double>(random() % 100) / 20'000;
      if (loss == 0) best = std::max(best, *fps);
      search.note(trial(*fps, loss));
    }
    EXPECT_EQ(search.result().found_fps.value_or(0), best);
  }
}

/// The rates that a search tries, in order.
std::vector<double> tried(const RateSearchOptions& options, const Line& link) {
  std::vector<double> rates;
  for (const TrialResult& one : run(options, link).trials) rates.push_back(one.offered_fps);
  return rates;
}
using Rates = std::vector<double>;

TEST(RateSearch, TriesWholeFramesASecond) {
  EXPECT_EQ(tried({.max_fps = 1234.9}, link_of(1e9)), Rates{1234});
  EXPECT_EQ(tried({.max_fps = 0.3}, link_of(1e9)), Rates{1});
  for (const double fps : tried({.max_fps = 54'321.6, .resolution = 0.001}, link_of(3210.7))) {
    EXPECT_EQ(fps, std::floor(fps));
  }
}

TEST(RateSearch, TriesNoRateBelowOneOfTenFramesInATrial) {
  const Line dead = [](double fps) { return trial(fps, 1); };
  const auto from = [&](double max) { return tried({.max_fps = max, .trial_seconds = 2}, dead); };
  EXPECT_EQ(from(320), (Rates{320, 40, 5}));
  EXPECT_EQ(from(384), (Rates{384, 48, 6, 1}));
  EXPECT_EQ(tried({.max_fps = 320}, dead), (Rates{320, 40, 5, 1})) << "no time is known";
}

TEST(RateSearch, FollowsTheRateThatTheLinkCarriedThreeTimesAndThenStepsDown) {
  const Line half = [](double fps) { return trial(fps, 0.5); };
  EXPECT_EQ(tried({.max_fps = 1e6}, half), (Rates{1e6, 498'750, 248'751, 124'064, 15'508, 1938}));
  // Of a loss that is allowed, so much more is sent than arrives.
  const Rates lossy = tried({.kind = Search::pdr, .max_fps = 1e6, .allowed_loss = 0.2}, half);
  EXPECT_EQ(lossy.at(1), 623'437);
}

TEST(RateSearch, OnlyATrialThatFailedByAHairIsMadeAgain) {
  struct Case {
    const char* what;
    RateSearchOptions options;
    TrialResult first;
    std::size_t times;
  };
  const RateSearchOptions ndr{.max_fps = 1000};
  const RateSearchOptions pdr{.kind = Search::pdr, .max_fps = 1000, .allowed_loss = 0.01};
  const RateSearchOptions latency{
      .kind = Search::latency_target, .max_fps = 1000, .latency_bound_ns = 10'000};
  const auto late = [](TrialResult result, double achieved) {
    result.achieved_fps = achieved;
    result.sender_late_ns = 2e7;
    return result;
  };
  for (const Case& c : {Case{"a thousandth", ndr, trial(1000, 0.001), 2},
                        {"more", ndr, trial(1000, 0.0011), 1},
                        {"a thousandth beyond what may be lost", pdr, trial(1000, 0.0109), 2},
                        {"more beyond it", pdr, trial(1000, 0.0111), 1},
                        {"a fifth too late", latency, trial(1000, 0, 12'000), 2},
                        {"later", latency, trial(1000, 0, 12'001), 1},
                        {"never", latency, trial(1000, 0), 1},
                        {"a late sender", ndr, late(trial(1000, 0.5), 1000), 3},
                        {"one that is too slow besides", ndr, late(trial(1000, 0), 900), 1}}) {
    SCOPED_TRACE(c.what);
    RateSearch search(c.options);
    std::size_t times = 0;
    for (; search.next_fps() == 1000 && times < 9; ++times) search.note(c.first);
    EXPECT_EQ(times, c.times);
  }
}

TEST(RateSearch, SaysOfTheLowestRateWhyItFailed) {
  const auto why = [](RateSearchOptions options, const TrialResult& only) {
    options.max_fps = only.offered_fps;
    options.resolution = 1;  // one trial is all of it
    RateSearch search(options);
    search.note(only);
    // It narrowly failed, or its sender was off its CPU: then it is repeated.
    for (int again = 0; again < 2 && search.next_fps(); ++again) search.note(only);
    EXPECT_FALSE(search.next_fps());
    return search.result().why_none;
  };
  TrialResult slow = trial(100, 0);
  slow.achieved_fps = 40;
  EXPECT_EQ(why({}, slow),
            "no rate passed, not even 100 frames/s: there, the sender itself reached only 40 "
            "frames/s of 100");
  const RateSearchOptions latency{
      .kind = Search::latency_target, .latency_bound_ns = 9000, .latency_percentile = 99.9};
  EXPECT_EQ(
      why(latency, trial(100, 0, 10'500)),
      "no rate passed, not even 100 frames/s: there, 99.9 % of the frames took up to 10.5 us, "
      "and 9 us was allowed");
  EXPECT_EQ(why(latency, trial(100, 0)),
            "no rate passed, not even 100 frames/s: there, less than 99.9 % of the frames "
            "arrived");
  TrialResult late = trial(100, 0.05);
  late.sender_late_ns = 14.5e6;
  EXPECT_EQ(
      why({}, late),
      "no rate passed, not even 100 frames/s: there, 5 % of the frames were lost, and 0 % was "
      "allowed; the sender was off its CPU and up to 14.5 ms late, so it sent a burst (give it "
      "its own CPU with cpus_allowed)");
  EXPECT_EQ(why({.kind = Search::pdr, .allowed_loss = 0.02}, trial(100, 0.034)),
            "no rate passed, not even 100 frames/s: there, 3.4 % of the frames were lost, and 2 % "
            "was allowed");
}

TEST(RateSearch, WithoutAnythingToBeginWithItSaysSo) {
  const SearchResult none = run({}, link_of(1));
  EXPECT_TRUE(none.trials.empty());
  EXPECT_NE(none.why_none.find("no frame could be sent"), std::string::npos);
  RateSearch stopped({.max_fps = 1000});
  EXPECT_NE(stopped.result().why_none.find("stopped"), std::string::npos);
  stopped.note(trial(1000, 0.5));
  EXPECT_NE(stopped.result().why_none.find("stopped"), std::string::npos);
}

TEST(PercentileOfSent, CountsLostFramesAsEndlesslyLate) {
  LatencyHistogram latency;
  for (std::uint64_t ns = 1; ns <= 100; ++ns) latency.record(ns);
  EXPECT_EQ(percentile_of_sent(latency, 0, 99), 99);
  EXPECT_EQ(percentile_of_sent(latency, 100, 50), 100);
  EXPECT_EQ(percentile_of_sent(latency, 100, 25), 50);
  EXPECT_FALSE(percentile_of_sent(latency, 100, 51));
  EXPECT_FALSE(percentile_of_sent(LatencyHistogram(), 0, 99));
}

TEST(RateSearch, TakesWhatAJobAsksFor) {
  JobOptions job;
  job.name = "voip";
  job.search = Search::latency_target;
  job.latency_target = std::chrono::microseconds(70);
  job.latency_percentile = 99.9;
  job.search_resolution = 0.02;
  const RateSearchOptions options = rate_search_options(job, 5);
  EXPECT_EQ(options.frame_bytes, 64U);
  EXPECT_EQ(options.mean_frame_bytes, 64);
  EXPECT_EQ(options.kind, Search::latency_target);
  EXPECT_EQ(options.latency_bound_ns, 70'000);
  EXPECT_EQ(options.latency_percentile, 99.9);
  EXPECT_EQ(options.resolution, 0.02);
  EXPECT_EQ(options.max_fps, 5);
  EXPECT_EQ(options.trial_seconds, 2);
  EXPECT_EQ(RateSearch(options).result().job, "voip");
  EXPECT_EQ(RateSearch(options).result().kind, Search::latency_target);
  EXPECT_EQ(RateSearch(options).result().frame_bytes, 64U);
  job.search = Search::pdr;
  job.search_loss = 0.013;
  job.search_trial = std::chrono::milliseconds(3500);
  EXPECT_EQ(rate_search_options(job, 5).kind, Search::pdr);
  EXPECT_EQ(rate_search_options(job, 5).allowed_loss, 0.013);
  EXPECT_EQ(rate_search_options(job, 5).trial_seconds, 3.5);
}

TEST(RateSearch, OfAMixHasBitsByItsMean) {
  JobOptions job;
  job.bs.tx = imix_sizes();
  const RateSearchOptions options = rate_search_options(job, 1000);
  EXPECT_EQ(options.frame_bytes, 0U);
  EXPECT_NEAR(options.mean_frame_bytes, (7 * 60 + 4 * 590 + 1514) / 12.0, 1e-9);
}

}  // namespace
}  // namespace shmif::perf
