// The page of shmifperf report, in a browser: nobody who gets it by mail should have to forgive it.

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "tests/perf/report/page_in_browser.hpp"
#include "tests/perf/report/page_samples.hpp"
#include "tests/perf/report/sample_results.hpp"

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

/// How many notes hold these words.
std::ptrdiff_t notes_with(const Json& facts, const std::string& words) {
  return std::ranges::count_if(facts["notes"], [&](const Json& note) {
    return note.get<std::string>().find(words) != std::string::npos;
  });
}
bool notes_say(const Json& facts, const std::string& words) {
  return notes_with(facts, words) != 0;
}

TEST_F(ReportInABrowser, EachPageIsFaultlessOnScreensLightAndDarkOnAPhoneAndOnPaper) {
  const std::string_view kFailed[] = {"failed", "unstarted", "hostile"};
  for (const Sight& sight : kSights) {
    if (!sight.thorough) continue;
    const bool failed = std::ranges::find(kFailed, sight.name) != std::end(kFailed);
    EXPECT_EQ(facts(std::string(sight.name))["title"],
              (failed ? "FAILED" : "passed") + std::string(" · shmifperf report"));
  }
}

TEST_F(ReportInABrowser, CallsReceivedWhatWasReceivedAndSentWhatNobodyReceives) {
  EXPECT_TRUE(notes_say(facts("own-few-without-bins"), "What arrived in each interval"));
  const Json& sent = facts("sent");
  EXPECT_TRUE(notes_say(sent, "What was sent in each interval"));
  EXPECT_FALSE(notes_say(sent, "What arrived"));
  EXPECT_EQ(sent["charts"][0]["axes"][1]["label"], "sent (bit/s)");
}

TEST_F(ReportInABrowser, SaysWhatAResultWithoutBucketsLacks) {
  EXPECT_TRUE(notes_say(facts("own-few-without-bins"), "--output-format=json+"));
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

TEST_F(ReportInABrowser, TheRampIsMarkedAndZoomingIsSaid) {
  const Json& apart = facts("apart");
  EXPECT_EQ(notes_with(apart, "Shaded: the ramp of a job, which its figures do not include."), 2)
      << "throughput and latency";
  EXPECT_EQ(notes_with(apart, "Drag across the chart to zoom in"), 2);
  EXPECT_FALSE(notes_say(facts("engines"), "Shaded"));
}

}  // namespace
}  // namespace shmif::perf
