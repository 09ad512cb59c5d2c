// The table of `shmifperf why`, for people.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "perf/report/why_report.hpp"

namespace shmif::perf::why_report {
namespace {

/// Threads that were busy for that share of a second each.
WhyResult watched(const std::vector<double>& busy) {
  WhyResult result;
  result.seconds = 1;
  for (const double share : busy) {
    TaskSummary& task = result.tasks.emplace_back();
    task.job = task.name = "load";
    task.process = 7;
    task.thread = static_cast<pid_t>(100 + result.tasks.size());
    task.seconds = 1;
    task.running = share / 2;
    task.waiting = share / 2;
    task.asleep = 1 - share;
  }
  return result;
}

bool has_row(const std::string& text, int thread) {
  return text.find("\n  load " + std::to_string(thread) + ' ') != std::string::npos;
}

TEST(WhyText, ShowsTheThreadsThatMakeUpNearlyAllOfTheBusyTimeAndCountsTheOthers) {
  std::vector<double> busy(40, 0.0001);
  for (const std::size_t i : {3U, 9U, 11U, 20U, 30U, 39U}) busy[i] = 0.5;
  const WhyResult result = watched(busy);
  const std::string text = why_text(result);
  for (const int thread : {104, 110, 112, 121, 131, 140}) EXPECT_TRUE(has_row(text, thread));
  EXPECT_FALSE(has_row(text, 101)) << text;
  EXPECT_NE(text.find("\nand 34 more threads, with 0.113 % of the time in which threads ran, "
                      "waited or were stopped: --json\n"),
            std::string::npos)
      << text;
  EXPECT_EQ(nlohmann::json::parse(why_json(result)).at("tasks").size(), 40U);
}

TEST(WhyText, ShowsTwentyThreadsAtMost) {
  const std::string text = why_text(watched(std::vector<double>(50, 0.3)));
  EXPECT_TRUE(has_row(text, 120));
  EXPECT_FALSE(has_row(text, 121));
  EXPECT_NE(text.find("\nand 30 more threads, with 60.0 % of the time"), std::string::npos) << text;
}

TEST(WhyText, LeavesOutNoneOfAFewThreads) {
  const std::string text = why_text(watched({0, 0.9, 0, 0, 0}));
  for (int thread = 101; thread <= 105; ++thread) EXPECT_TRUE(has_row(text, thread)) << text;
  EXPECT_EQ(text.find("more thread"), std::string::npos);
}

TEST(WhyText, ShowsAThreadThatWasStoppedAllTheTime) {
  WhyResult result = watched(std::vector<double>(30, 0.001));
  result.tasks[25].stopped = 1;
  EXPECT_TRUE(has_row(why_text(result), 126));
}

}  // namespace
}  // namespace shmif::perf::why_report
