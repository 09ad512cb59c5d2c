// What held the jobs back, as the report tells it.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "perf/report/report.hpp"
#include "perf/report/text.hpp"
#include "perf/report/units.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::perf::report_causes {
namespace {

using Json = nlohmann::json;

std::string text_of(const RunResult& run, std::size_t width = 0) {
  return to_text(Report::parse(to_json(run, Bins::without), "run").value(), width);
}

Cause cause_of(const std::string& job, int number) {
  Cause cause;
  cause.job = job;
  cause.begin_s = number;
  cause.end_s = number + 1;
  cause.share = 0.5;
  cause.sentence = job + " was held back, " + std::to_string(number);
  return cause;
}

TEST(CausesText, IsTheLastThingOfTheReport) {
  const std::string text = text_of(test::failed_sample());
  const std::size_t at = text.find("\nwhat held the jobs back, the heaviest first\n");
  ASSERT_NE(at, std::string::npos) << text;
  EXPECT_EQ(text.substr(at + 1),
            "what held the jobs back, the heaviest first\n"
            "  bulk.peer was runnable but not running for 61 % of 2.0 s to 4.0 s; 98 % of all lost "
            "frames fell there\n"
            "  bulk.peer was moved between CPUs 2,240 times from 3.4 s to 9.0 s; 1 % of all lost "
            "frames fell there\n"
            "  voip was stopped by a signal or a debugger for 100 % of 12.5 s to 12.8 s\n");
}

TEST(CausesText, SaysThatNothingHeldTheJobsBackAndWhatCouldNotBeSeen) {
  EXPECT_TRUE(text_of(test::quiet_sample())
                  .ends_with("\nnothing held the jobs back (301 looks in 30.1 s; not seen: "
                             "/proc/pressure/memory)\n"));
  RunResult run = test::quiet_sample();
  run.causes.missing.clear();
  EXPECT_TRUE(text_of(run).ends_with("\nnothing held the jobs back (301 looks in 30.1 s)\n"));
}

TEST(CausesText, SaysThatWhatLostFramesWasNotSeen) {
  RunResult run = test::failed_sample();
  run.causes.causes.clear();
  for (JobResult& job : run.jobs) job.overrun_frames = 0;
  const std::string text = text_of(run);
  std::uint64_t lost = 0;
  for (const JobResult& job : run.jobs) {
    for (const FlowResult& flow : job.flows) lost += flow.lost;
  }
  ASSERT_GT(lost, 0U);
  EXPECT_NE(text.find("\nnothing held the jobs back; what lost " + format_counted(lost, "frame") +
                      " was not seen (301 looks"),
            std::string::npos)
      << text;
}

TEST(CausesText, SaysWhyNothingIsKnown) {
  RunResult run = test::quiet_sample();
  run.causes = {};
  run.causes.why_unknown = "it was turned off (why=0)";
  EXPECT_TRUE(text_of(run).ends_with(
      "\nwhat held the jobs back is not known: it was turned off (why=0)\n"));
  const Json json = Json::parse(to_json(run, Bins::without));
  EXPECT_EQ(json.at("causes"), nullptr);
  EXPECT_EQ(json.at("causes_reason"), "it was turned off (why=0)");
  EXPECT_EQ(json.at("why"), nullptr);
}

TEST(CausesText, OfRepetitionsSaysOfWhichRunItIs) {
  RunResult run = test::search_sample();
  run.repetitions = {run, run, run};
  run.shown_run = 1;
  EXPECT_NE(text_of(run).find("nothing held the jobs back in run 2 ("), std::string::npos);
  run.causes.causes = {cause_of("bulk", 1)};
  EXPECT_NE(text_of(run).find("what held the jobs back in run 2, the heaviest first\n"),
            std::string::npos);
}

TEST(CausesText, HasNoMoreThanTenSentencesAndSaysHowManyMoreThereAre) {
  RunResult run = test::quiet_sample();
  for (int i = 1; i <= 12; ++i) run.causes.causes.push_back(cause_of("bulk", i));
  const std::string text = text_of(run);
  EXPECT_NE(text.find("  bulk was held back, 10\n"), std::string::npos);
  EXPECT_EQ(text.find("  bulk was held back, 11\n"), std::string::npos);
  EXPECT_TRUE(text.ends_with("\n  ... and 2 more: --output-format=json\n"));
}

TEST(CausesText, OfAnEarlierVersionsFileSaysNothing) {
  Json json = Json::parse(to_json(test::quiet_sample(), Bins::without));
  for (const char* key : {"causes", "causes_reason", "why"}) json.erase(key);
  const std::string text = to_text(Report::parse(json.dump(), "old").value(), 0);
  EXPECT_EQ(text.find("held the jobs back"), std::string::npos);
}

}  // namespace
}  // namespace shmif::perf::report_causes
