// Who starts when, and who ends whom.

#include <filesystem>
#include <fstream>
#include <map>

#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;

/// Jobs that write down when they got ready and when they had ended.
class RunPhases : public testing::Test {
 protected:
  /// Options for all jobs.
  std::string global() const {
    return "[global]\naux-path=" + dir_.path() +
           "\nengine=unix\nrate_iops=1000\ndrain_time=50ms\nexec_prerun=date +%s%N\n"
           "exec_postrun=date +%s%N\n";
  }
  long long ready(const std::string& job) const { return when(job + ".prerun.txt"); }
  long long ended(const std::string& job) const { return when(job + ".postrun.txt"); }

 private:
  long long when(const std::string& file) const {
    long long ns = 0;
    std::ifstream(dir_.file(file)) >> ns;
    EXPECT_GT(ns, 0) << file;
    return ns;
  }
  test::TempDir dir_;
};

TEST_F(RunPhases, JobsBehindAStonewallStartWhenThoseBeforeHaveEnded) {
  EXPECT_TRUE(passed(run_text(global() + "[a]\nnumber_ios=100\n[b]\nnumber_ios=20\n"
                                         "[c]\nstonewall\nnumber_ios=5\n[d]\nnumber_ios=5\n")));
  EXPECT_LT(ready("b"), ended("a")) << "no wall between them";
  EXPECT_GE(ready("c"), ended("a"));
  EXPECT_GE(ready("c"), ended("b"));
  EXPECT_GE(ready("d"), ended("a"));
}

TEST_F(RunPhases, JobsThatWaitForOneThatFailedStartAllTheSame) {
  const RunResult result =
      run_text(global() + "[a]\nnumber_ios=5\nexec_postrun=false\n[b]\nwait_for=a\nnumber_ios=5\n");
  EXPECT_TRUE(failed(result, "job \"a\": exec_postrun: false ended with status 1"));
  EXPECT_EQ(flow_to(result, "b.sink").received, 5U);
}

TEST_F(RunPhases, StartDelayIsCountedFromTheCommonStart) {
  const test::TempBus bus(test::roomy(4));
  const RunResult result = run_text("[global]\nbus=" + bus.path() +
                                    "\nrate_iops=1000\nnumber_ios=20\n"
                                    "[a]\n[b]\nstart_delay=300ms\n");
  EXPECT_TRUE(passed(result));
  std::map<std::uint32_t, std::uint64_t> first;
  for (const auto& frame : test::witnessed(bus.path())) {
    first.try_emplace(frame.probe().flow, frame.probe().intended_ns);
    EXPECT_GE(frame.probe().sent_ns, frame.probe().intended_ns);
  }
  ASSERT_EQ(first.size(), 2U);
  EXPECT_EQ(first.rbegin()->second - first.begin()->second, 300'000'000U);
}

TEST_F(RunPhases, ExitallEndsTheGroupOfTheJobAndNoOther) {
  const RunResult result = run_text(
      "[global]\nengine=unix\nrate_iops=1000\nruntime=20\ndrain_time=50ms\n"
      "[long]\n[short]\nruntime=100ms\nexitall\n"
      "[other]\nnew_group\nruntime=400ms\n");
  EXPECT_TRUE(passed(result));
  EXPECT_LT(job_of(result, "long").tx.seconds, 10);
  EXPECT_EQ(job_of(result, "other").tx.offered_frames, 400U);
}

TEST_F(RunPhases, ExitallOnErrorEndsTheGroupOnlyOfAJobThatFailed) {
  const std::string jobs =
      "[global]\nengine=unix\nrate_iops=1000\nruntime=400ms\ndrain_time=50ms\n"
      "[long]\n[short]\nruntime=50ms\nexitall_on_error\n";
  const RunResult fine = run_text(jobs);
  EXPECT_TRUE(passed(fine));
  EXPECT_EQ(job_of(fine, "long").tx.offered_frames, 400U);
  const RunResult bad = run_text(jobs + "exec_postrun=false\n[more]\nruntime=20\n");
  EXPECT_TRUE(failed(bad, "job \"short\": exec_postrun"));
  EXPECT_LT(job_of(bad, "more").tx.seconds, 10);
}

TEST_F(RunPhases, ABackgroundJobIsEndedByTheEndOfTheOthersAndHasFigures) {
  const RunResult result = run_text(
      "[global]\nengine=unix\nrate_iops=1000\ndrain_time=50ms\n"
      "[noise]\nbackground\n[a]\nruntime=200ms\n[b]\nwait_for=a\nruntime=100ms\n");
  EXPECT_TRUE(passed(result));
  EXPECT_GE(job_of(result, "noise").tx.frames, 290U) << "through both of the others";
  EXPECT_EQ(flow_to(result, "noise.sink").lost, 0U);
}

TEST_F(RunPhases, RequestsThatNeverArriveAreLost) {
  // Asked to stop while all of its requests are on their way.
  const RunResult asked = run_text(
      "[a]\nrw=pingpong\nengine=unix\niodepth=16\nnumber_ios=16\ndrain_time=60ms\n"
      "fault=delay=10s\n[b]\nengine=unix\nnumber_ios=1\n");
  const FlowResult& requests = flow_to(asked, "a.echo");
  EXPECT_EQ(requests.sent, 16U);
  EXPECT_EQ(requests.lost, 16U);
  EXPECT_EQ(flow_to(asked, "a").sent, 0U) << "no request was answered";
}

TEST_F(RunPhases, LostRequestsAndLostRepliesAreToldApart) {
  // Most are missed while the run goes on, the last of them at its end.
  const RunResult result = run_text(
      "[a]\nrw=pingpong\nto=b\nengine=unix\niodepth=8\nrate_iops=1000\nruntime=500ms\n"
      "drain_time=50ms\ncontinue_on_error=verify\nfault=loss=10%,seed=4\n"
      "[b]\nrw=echo\nengine=unix\nfault=loss=20%,corrupt=5%,duplicate=5%,seed=3\n");
  EXPECT_TRUE(passed(result));
  const FaultCounters& asked = result.links.at(0).faults;
  const FlowResult& requests = flow_to(result, "b");
  EXPECT_EQ(requests.kind, FlowResult::Kind::request);
  EXPECT_EQ(requests.sent, job_of(result, "a").tx.frames);
  EXPECT_GT(requests.lost, 8U) << "more than can be open at the end";
  EXPECT_EQ(requests.lost, asked.lost);
  EXPECT_EQ(requests.received, requests.sent - requests.lost);
  const FaultCounters& answered = result.links.at(1).faults;
  const FlowResult& replies = flow_to(result, "a");
  EXPECT_EQ(replies.kind, FlowResult::Kind::reply);
  EXPECT_EQ(replies.from, "b");
  EXPECT_EQ(replies.sent, job_of(result, "b").tx.frames);
  EXPECT_EQ(replies.sent, requests.received);
  EXPECT_EQ(replies.lost, answered.lost);
  EXPECT_EQ(replies.corrupt + replies.corrupt_copies, answered.corrupted);
  EXPECT_EQ(replies.sent, replies.received + replies.lost + replies.corrupt);
  EXPECT_EQ(replies.cancelled + requests.cancelled, 0U);
}

TEST_F(RunPhases, ACopyOfARequestIsAnsweredAndItsReplyIsACopy) {
  const RunResult result = run_text(
      "[a]\nrw=pingpong\nengine=unix\nrate_iops=2000\nnumber_ios=200\ndrain_time=50ms\n"
      "fault=duplicate=20%,seed=4\n");
  EXPECT_TRUE(passed(result));
  const std::uint64_t copies = result.links.at(0).faults.duplicated;
  ASSERT_GT(copies, 10U);
  EXPECT_EQ(flow_to(result, "a.echo").duplicates, copies);
  EXPECT_EQ(job_of(result, "a.echo").tx.frames, 200 + copies) << "that many really went";
  EXPECT_EQ(flow_to(result, "a").sent, 200U) << "and each of the others is a copy";
  EXPECT_EQ(flow_to(result, "a").received, 200U);
  EXPECT_EQ(flow_to(result, "a").duplicates, copies);
}

TEST_F(RunPhases, WithoutADrainRepliesAreStillWaitedForWhileTheJobGoesOn) {
  const RunResult result = run_text(
      "[a]\nrw=pingpong\nto=b\nengine=unix\niodepth=1\nnumber_ios=6\ndrain_time=0\n"
      "[b]\nrw=echo\nengine=unix\nfault=delay=40ms\n");
  EXPECT_GE(flow_to(result, "a").received, 5U) << "all but the last one, whom nobody waits for";
}

}  // namespace
}  // namespace shmif::perf
