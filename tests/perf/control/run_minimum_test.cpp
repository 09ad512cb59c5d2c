// Minimum rates: of bits and of frames, of each direction by itself.

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <ostream>

#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf {
namespace {

using test::failed;
using test::job_of;
using test::passed;
using test::run_text;

/// 1000 frames of 100 bytes a second, so 800 kbit/s; and a minimum that this does not keep.
struct Minimum {
  const char* option;
  const char* message;
};
void PrintTo(const Minimum& minimum, std::ostream* out) {
  *out << minimum.option;
}

const std::string kPair =
    "[global]\nengine=unix\nbs=100\nrate_settle=100ms\nrate_cycle=200ms\ndrain_time=50ms\n"
    "runtime=20\n[a]\nrw=txrx\nto=b\nrate_iops=1000\n";

class RunMinimum : public testing::TestWithParam<Minimum> {};

TEST_P(RunMinimum, FailsTheJobThatFallsBelowAndNamesDirectionWantedAndGot) {
  // The other minimum of the same direction is kept: neither hides the other.
  const RunResult result = run_text(kPair + "rate_iops_min=500,50\nrate_min=400kbit,40kbit\n" +
                                    GetParam().option + "\n[b]\nrw=txrx\nrate_iops=100\n");
  EXPECT_TRUE(failed(result, GetParam().message));
  EXPECT_FALSE(job_of(result, "a").passed);
  EXPECT_LT(job_of(result, "a").tx.seconds, 15);
}

INSTANTIATE_TEST_SUITE_P(
    Of, RunMinimum,
    testing::Values(
        Minimum{"rate_iops_min=500,300\n",
                "job \"a\": rx: wanted at least 300 frames/s (rate_iops_min), got "},
        Minimum{"rate_min=400kbit,300kbit\n",
                "job \"a\": rx: wanted at least 300000 bit/s (rate_min), got "},
        Minimum{"rate_iops=400\nrate_iops_min=200,50\nrate_min=390kbit,40kbit\n",
                "job \"a\": tx: wanted at least 390000 bit/s (rate_min), got "},
        Minimum{"rate=8kbit,0\nrate_iops=1000\nrate_min=1kbit,1kbit\nrate_iops_min=500,50\n",
                "job \"a\": tx: wanted at least 500 frames/s (rate_iops_min), got "}));

TEST(RunMinimumRate, IsKeptByWhoKeepsIt) {
  const RunResult result = run_text(kPair +
                                    "runtime=600ms\nrate_iops_min=500,50\nrate_min=400kbit,"
                                    "40kbit\n[b]\nrw=txrx\nrate_iops=100\nruntime=600ms\n");
  EXPECT_TRUE(passed(result));
}

TEST(RunMinimumRate, DoesNotCountBeforeItHasSettled) {
  const RunResult result = run_text(
      "[a]\nengine=unix\nrate_iops=1000\nruntime=500ms\nstart_delay=300ms\nrate_settle=200ms\n"
      "rate_cycle=100ms\nrate_iops_min=500\ndrain_time=50ms\n");
  EXPECT_TRUE(passed(result)) << "nor before start_delay is over, nor in the drain";
}

TEST(RunMinimumRate, IsNotExpectedOfAJobThatHasSentAllAndStillReceives) {
  const RunResult result =
      run_text(kPair +
               "runtime=400ms\nrate_iops_min=500,50\n[b]\nrw=txrx\nrate_iops=100\n"
               "runtime=1\n");
  EXPECT_TRUE(passed(result));
}

TEST(RunMinimumRate, IsNotExpectedOfAReceiverBeforeAnybodySendsToIt) {
  const RunResult result = run_text(
      "[global]\nengine=unix\ndrain_time=50ms\nruntime=300ms\nrate_iops=1000\n"
      "rate_settle=100ms\nrate_cycle=100ms\n[b]\nrw=rx\nrate_iops_min=0,100\n"
      "[early]\nruntime=500ms\n[a]\nto=b\nwait_for=early\nstart_delay=300ms\n");
  EXPECT_TRUE(passed(result));
  EXPECT_GT(job_of(result, "b").rx.frames, 0U);
}

TEST(RunMinimumRate, ATotalStallOfTheSenderTripsIt) {
  const RunResult result = run_text(
      "[global]\nstuck_timeout=200ms\n[a]\nrate_iops=1000\nruntime=20\nrate_settle=100ms\n"
      "rate_cycle=200ms\nrate_iops_min=1\ndrain_time=50ms\n",
      test::signal_in(JobState::running, 0, SIGSTOP));
  EXPECT_TRUE(failed(result, "job \"a\": tx: wanted at least 1 frames/s (rate_iops_min), got 0"));
  EXPECT_TRUE(failed(result, "job \"a\": is stuck"));
}

}  // namespace
}  // namespace shmif::perf
