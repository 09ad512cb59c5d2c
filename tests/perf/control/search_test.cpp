#include "perf/control/search.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "tests/perf/stats/recorded.hpp"

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

TEST(RateSearch, TakesWhatAJobAsksFor) {
  JobOptions job;
  job.latency_target = std::chrono::microseconds(70);
  job.latency_percentile = 99.9;
  job.search_resolution = 0.02;
  job.search_loss = 0.013;
  job.search_trial = std::chrono::milliseconds(3500);
  job.bs.tx = imix_sizes();
  const RateSearchOptions options = rate_search_options(job, 5);
  EXPECT_EQ(options.latency_bound_ns, 70'000);
  EXPECT_EQ(options.latency_percentile, 99.9);
  EXPECT_EQ(options.resolution, 0.02);
  EXPECT_EQ(options.allowed_loss, 0.013);
  EXPECT_EQ(options.trial_seconds, 3.5);
  EXPECT_EQ(options.max_fps, 5);
  EXPECT_NEAR(options.mean_frame_bytes, (7 * 60 + 4 * 590 + 1514) / 12.0, 1e-9);
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

TEST(RateSearch, ARateThatIsTooLowForTheSendersSakeIsDoubted) {
  /// Above 400,000, the sender is so late and reaches this share of the rate, and so much is lost.
  const auto doubt = [](double late_ns, double reached, double lost) {
    return doubt_of(run({.max_fps = 1e6}, [=](double fps) {
      const bool fine = fps <= 400'000;
      TrialResult result = trial(fps, fine ? 0 : lost);
      result.sender_late_ns = fine ? 1e5 : late_ns;
      if (!fine) result.achieved_fps *= reached;
      return result;
    }));
  };
  EXPECT_THAT(doubt(2.13e7, 1, 0.05), testing::HasSubstr("21.3 ms late"));
  EXPECT_THAT(doubt(1e5, 0.5, 0), testing::StartsWith("the sender itself reached only "));
  EXPECT_EQ(doubt(1e5, 1, 0.05), "") << "such losses are the link's";
  EXPECT_EQ(doubt(2e7, 1, 0), "") << "the highest rate passed";
  // What was late and passed when it was repeated, or at a higher rate, decides nothing.
  SearchResult search;
  search.found_fps = 100;
  const auto add = [&](double fps, bool passed, double late_ns) {
    search.trials.push_back(trial(fps, passed ? 0 : 0.1));
    search.trials.back().passed = passed;
    search.trials.back().sender_late_ns = late_ns;
  };
  add(200, false, 9e6);
  add(200, false, 1e5);
  add(100, false, 9e6);
  add(100, true, 9e6);
  EXPECT_EQ(doubt_of(search), "");
  add(150, false, 8e6);
  EXPECT_NE(doubt_of(search), "");
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

TEST(RateSearch, WithoutARateSaysWhyAndWhatWasAllowed) {
  const auto with = [](auto change) {
    TrialResult result = trial(100, 0);
    change(result);
    return result;
  };
  const RateSearchOptions latency{
      .kind = Search::latency_target, .latency_bound_ns = 9000, .latency_percentile = 99.9};
  struct Case {
    RateSearchOptions options;
    TrialResult only;
    std::vector<const char*> words;
  };
  for (Case c :
       {Case{{}, with([](auto& t) { t.achieved_fps = 40; }), {"sender", "only 40 frames/s of 100"}},
        {latency, trial(100, 0, 10'500), {"99.9 %", "10.5 us", "9 us was allowed"}},
        {latency, trial(100, 0), {"less than 99.9 %", "arrived"}},
        {{}, trial(100, 0.02), {"2 % of the frames were lost", "0 % was allowed"}},
        {{},
         with([](auto& t) { t.loss_share = 0.05, t.sender_late_ns = 14.5e6; }),
         {"5 % of the frames", "14.5 ms late", "cpus_allowed"}},
        {{.kind = Search::pdr, .allowed_loss = 0.02}, trial(100, 0.034), {"3.4 %", "2 %"}}}) {
    c.options.max_fps = 100;
    c.options.resolution = 1;  // one trial is all of it
    const SearchResult none = run(c.options, [&](double) { return c.only; });
    EXPECT_FALSE(none.found_fps);
    EXPECT_FALSE(none.trials.at(0).passed);
    for (const char* const word : c.words) EXPECT_THAT(none.why_none, testing::HasSubstr(word));
  }
  EXPECT_THAT(run({}, link_of(1)).why_none, testing::HasSubstr("no frame could be sent"));
  EXPECT_THAT(RateSearch({.max_fps = 1000}).result().why_none, testing::HasSubstr("stopped"));
}

// ---- The figures of a trial ----

/// 1000 frames were sent. Each way in which frames can end has a number of its own.
FlowResult flow_of_trial() {
  FlowResult flow;
  flow.from = "s";
  flow.to = "s.sink";
  flow.sent = 1000;
  flow.received = 900;
  flow.lost = 41;
  flow.corrupt = 23;
  flow.truncated = 13;
  flow.late = 11;
  flow.cancelled = 7;
  flow.unverified = 5;
  flow.duplicates = 300;
  flow.corrupt_copies = 200;
  return flow;
}

/// A trial of "s" and its receiver, with two other jobs in the same run.
RunResult run_of_trial() {
  RunResult run;
  for (const char* name : {"other", "s", "s.sink", "other.sink"}) {
    JobResult job;
    job.name = name;
    job.latency = std::make_shared<LatencyHistogram>();
    job.service = std::make_shared<LatencyHistogram>();
    job.spacing_error = std::make_shared<LatencyHistogram>();
    run.jobs.push_back(job);
  }
  run.jobs[1].tx.frames = 1000;
  run.jobs[1].tx.offered_frames = 1200;
  run.jobs[1].tx.seconds = 4;
  run.jobs[1].tx.offered_seconds = 5;
  run.jobs[1].spacing_error->record(70);
  run.jobs[1].spacing_error->record(90);
  run.jobs[2].flows = {flow_of_trial()};
  for (std::uint64_t i = 1; i <= 90; ++i) record(*run.jobs[2].latency, i, 10);
  run.jobs[0].tx.frames = 77;
  run.jobs[0].tx.seconds = 1;
  run.jobs[0].spacing_error->record(1'000'000);
  run.jobs[3].flows = {flow_of_trial()};
  run.jobs[3].flows[0].from = "other";
  run.jobs[3].flows[0].received = 0;
  record(*run.jobs[3].latency, 1'000'000, 100'000);
  return run;
}

TEST(TrialFigures, OnlyAFrameThatCameWholeAndInTimeIsDelivered) {
  JobOptions job;
  job.name = "s";
  job.latency_percentile = 50;
  const TrialResult trial = figures_of_trial(run_of_trial(), job, 300);
  EXPECT_EQ(trial.job, "s");
  EXPECT_EQ(trial.offered_fps, 300);
  EXPECT_EQ(trial.achieved_fps, 250);
  EXPECT_EQ(trial.loss_share, 0.1) << "900 of 1000 were received";
  EXPECT_EQ(trial.latency_percentile_ns, 50) << "of all that were sent, half took so long";
  EXPECT_EQ(trial.sender_late_ns, 90);
}

TEST(TrialFigures, OfOneThatAsksRequestsAndRepliesCount) {
  RunResult run = run_of_trial();
  // Replies also count: "s" asks and receives them itself.
  FlowResult replies = flow_of_trial();
  replies.from = "s.sink";
  replies.to = "s";
  replies.received = 800;
  run.jobs[1].flows = {replies};
  JobOptions job;
  job.name = "s";
  EXPECT_EQ(figures_of_trial(run, job, 300).loss_share, 0.15);
}

}  // namespace
}  // namespace shmif::perf
