// The page of shmifperf report, in a browser: nobody who gets it by mail should have to forgive it.

#include <algorithm>
#include <string_view>

#include "tests/perf/report/sample_results.hpp"
#include "tests/perf/report/web/in_browser.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::json;

using test::page_of;

/// The result without its receiver.
RunResult sent_sample() {
  RunResult run = test::quiet_sample();
  run.jobs.resize(1);
  return run;
}

/// A page that tests look at.
struct Sight {
  std::string_view name;
  bool thorough;  // else in the light only
  std::string (*page)();
};

template <auto sample>
std::string page_with() {
  return page_of(sample());
}

const Sight kSights[] = {
    {"failed", true, page_with<test::failed_sample>},
    {"engines", true, page_with<test::engines_sample>},
    {"search", true, page_with<test::search_sample>},
    {"unstarted", true, page_with<test::unstarted_sample>},
    {"hostile", true, page_with<test::hostile_sample>},
    {"apart", true, page_with<test::apart_sample>},
    {"sent", false, page_with<sent_sample>},
    // Pages of other tests, under the same names, so that they are opened only once.
    {"own-many", false, [] { return test::page_of_json(test::many_jobs_json().dump()); }},
    {"own-few-without-bins", false,
     [] { return test::page_of_json(test::few_jobs_json_without_bins().dump()); }},
};

class ReportInABrowser : public test::PageInABrowser {
 protected:
  static const Json& facts(const std::string& name) {
    const Sight& sight = *std::ranges::find(kSights, name, &Sight::name);
    return PageInABrowser::facts(name, sight.page,
                                 sight.thorough ? test::Look::thorough : test::Look::light);
  }
};

bool notes_say(const Json& facts, const std::string& words) {
  return test::notes_with(facts, words) != 0;
}

TEST_F(ReportInABrowser, EachPageIsFaultlessOnScreensLightAndDarkOnAPhoneAndOnPaper) {
  const std::string_view kFailed[] = {"failed", "unstarted", "hostile"};
  for (const Sight& sight : kSights) {
    if (!sight.thorough) continue;
    const bool failed = std::ranges::find(kFailed, sight.name) != std::end(kFailed);
    const Json& page = facts(std::string(sight.name));
    EXPECT_EQ(page["title"], (failed ? "FAILED" : "passed") + std::string(" · shmifperf report"));
    EXPECT_LE(page["sheets"], 2) << sight.name;
  }
}

TEST_F(ReportInABrowser, CallsReceivedWhatWasReceivedAndSentWhatNobodyReceives) {
  EXPECT_TRUE(notes_say(facts("own-few-without-bins"), "What arrived in each interval"));
  const Json& sent = facts("sent");
  EXPECT_TRUE(notes_say(sent, "What was sent in each interval"));
  EXPECT_FALSE(notes_say(sent, "What arrived"));
  EXPECT_EQ(sent["charts"][0]["axes"][1]["label"], "sent (bit/s)");
}

TEST_F(ReportInABrowser, OfManyJobsTheGroupsStandAboveTheFirstChart) {
  const Json& many = facts("own-many");
  EXPECT_EQ(many["rows_above"], 10) << "of twelve";
  EXPECT_TRUE(notes_say(many, "summed for each group"));
  EXPECT_EQ(facts("engines")["rows_above"], 4) << "of few jobs each is shown";
}

TEST_F(ReportInABrowser, RunsThatFollowedEachOtherCanBeLaidOverEachOther) {
  const auto offers = [](const Json& page) {
    return std::ranges::count(page["buttons"], "since each job’s own start");
  };
  const Json& apart = facts("apart");
  EXPECT_EQ(offers(apart), 2) << "throughput and latency";
  EXPECT_EQ(offers(facts("engines")), 0);
}

/// The bar of the cause that this begins the sentence of.
Json bar_of(const Json& bars, const std::string& begin) {
  for (const Json& bar : bars) {
    if (bar["says"].get<std::string>().starts_with(begin)) return bar;
  }
  return {{"from", -1}, {"to", -1}, {"top", -1}};
}

TEST_F(ReportInABrowser, WhatHeldTheJobsBackIsABandOnTheTimeAxisOfTheThroughput) {
  const Json& failed = facts("failed");
  EXPECT_EQ(failed["rows"], Json::array({"voip", "bulk.peer"}));
  ASSERT_EQ(failed["bars"].size(), 3U);
  const Json waits = bar_of(failed["bars"], "bulk.peer was runnable");
  const Json moves = bar_of(failed["bars"], "bulk.peer was moved");
  constexpr double kPixel = 0.1;  // seconds, of a bar's width at most
  EXPECT_NEAR(waits["from"], 2, kPixel);
  EXPECT_NEAR(waits["to"], 4, kPixel);
  EXPECT_NEAR(moves["from"], 3.4, kPixel);
  EXPECT_NEAR(moves["to"], 9, kPixel);
  EXPECT_GT(moves["top"], waits["top"].get<double>()) << "they overlap, so they have two lanes";
  const Json& zoomed = failed["bars_from_3_to_6"];
  ASSERT_EQ(zoomed.size(), 2U) << "the third is not in that time";
  EXPECT_NEAR(bar_of(zoomed, "bulk.peer was runnable")["from"], 3, kPixel);
  EXPECT_NEAR(bar_of(zoomed, "bulk.peer was runnable")["to"], 4, kPixel);
  EXPECT_NEAR(bar_of(zoomed, "bulk.peer was moved")["to"], 6, kPixel);
}

TEST_F(ReportInABrowser, TheSentencesStandBelowTheBandOrOneSaysThatThereIsNone) {
  const Json& failed = facts("failed");
  ASSERT_EQ(failed["sentences"].size(), 3U);
  EXPECT_EQ(failed["sentences"][2],
            "voip was stopped by a signal or a debugger for 100 % of 12.5 s to 12.8 s");
  EXPECT_TRUE(notes_say(failed, "What held the jobs back, the heaviest first, by 301 looks"));
  const Json& quiet = facts("engines");
  EXPECT_TRUE(quiet["bars"].empty());
  EXPECT_TRUE(notes_say(quiet,
                        "Nothing held the jobs back, by 301 looks in 30.1 s (not seen: "
                        "/proc/pressure/memory)."));
}

TEST_F(ReportInABrowser, TheRampIsMarkedAndZoomingIsSaid) {
  const Json& apart = facts("apart");
  EXPECT_EQ(test::notes_with(apart, "Shaded: the ramp of a job, which its figures do not include."),
            2)
      << "throughput and latency";
  EXPECT_EQ(test::notes_with(apart, "Drag across the chart to zoom in"), 2);
  EXPECT_FALSE(notes_say(facts("engines"), "Shaded"));
}

}  // namespace
}  // namespace shmif::perf
