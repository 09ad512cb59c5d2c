// Runs whose jobs are threads of this process, and have threads of their own. So ThreadSanitizer
// sees the memory that a run's controller and its jobs share.

#include <ostream>

#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf {
namespace {

/// A job file.
struct OfThreads {
  const char* name;
  const char* text;
};
void PrintTo(const OfThreads& of, std::ostream* out) {
  *out << of.name;
}

constexpr const char* kGlobal =
    "[global]\nthread\nnumber_ios=400\nrate_iops=8000\ndrain_time=10s\nstatus-interval=10ms\n";

class RunThreads : public testing::TestWithParam<OfThreads> {};

TEST_P(RunThreads, CountTheSame) {
  const test::TempDir logs;
  const RunResult result = run_text(kGlobal + ("aux-path=" + logs.path()) + '\n' + GetParam().text);
  ASSERT_TRUE(passed(result));
  for (const JobResult& job : result.jobs) {
    SCOPED_TRACE(job.name);
    EXPECT_TRUE(job.thread);
    EXPECT_FALSE(job.intervals.empty());
    for (const FlowResult& flow : job.flows) {
      EXPECT_EQ(flow.sent, 400U);
      EXPECT_EQ(flow.received, 400U);
      EXPECT_TRUE(flow.verification_complete);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Of, RunThreads,
    testing::Values(
        OfThreads{"AsyncOverABus", "[j]\nio_submit_mode=offload\nverify_async=2\n"},
        OfThreads{"AsyncOverSockets",
                  "[j]\nengine=unix\nio_submit_mode=offload\nverify_async=2\nverify_backlog=30\n"},
        OfThreads{"BothWays", "[a]\nrw=txrx\nto=b\nwrite_hist_log=h\n[b]\nrw=txrx\n"},
        OfThreads{"RoundTrips", "[j]\nengine=unix\nrw=pingpong\nwrite_lat_log=l\n"},
        OfThreads{"SeveralSendersAtOnce", "[j]\nnumjobs=3\nflow=1\nfault=delay=1ms\n"}),
    testing::PrintToStringParamName());

}  // namespace
}  // namespace shmif::perf
