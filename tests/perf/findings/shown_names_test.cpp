// Names that other programs chose: a terminal obeys U+009B, and U+202E turns the text around.

#include <gtest/gtest.h>

#include <string>

#include "perf/findings/sample_report.hpp"
#include "perf/findings/why_report.hpp"
#include "perf/heat/session.hpp"

namespace shmif::perf::test {
namespace {

constexpr const char* kName = "a\xc2\x9b\xe2\x80\xae~";

void expect_shown(const std::string& text, const std::string& name) {
  EXPECT_EQ(text.find("\xc2\x9b"), std::string::npos) << text;
  EXPECT_EQ(text.find("\xe2\x80\xae"), std::string::npos) << text;
  EXPECT_NE(text.find(name), std::string::npos) << text;
}

TEST(ShownNames, OfJobsAndThreadsSteerNoTerminal) {
  WhyResult result;
  TaskSummary& task = result.tasks.emplace_back();
  task.job = task.name = kName;
  task.seconds = task.running = 1;
  expect_shown(why_text(result), "a??~");
  expect_shown(why_json(result), "a\\u009b\\u202e~");
}

TEST(ShownNames, OfFunctionsAndFilesSteerNoTerminal) {
  SampleReport report;
  report.event = "cycles";
  report.profile.samples = 1;
  report.profile.rows = {{"f", kName, 1, 1.0}, {kName, "g", 1, 1.0}};
  report.profile.notes = {kName};
  expect_shown(sample_text(report, 0), "a??~");
  expect_shown(sample_json(report), "a\\u009b\\u202e~");
}

TEST(ShownNames, OfWatchedProcessesSteerNoTerminal) {
  HeatResult result;
  result.process = {41, 1};
  result.name = kName;
  expect_shown(heat_text({result}, {}, 80), "a??~");
  expect_shown(heat_json({result}, {}, false), "a\\u009b\\u202e~");
}

}  // namespace
}  // namespace shmif::perf::test
