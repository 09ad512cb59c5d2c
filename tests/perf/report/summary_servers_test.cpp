// The summary of a run on servers, whole.

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include "perf/remote/combine.hpp"
#include "tests/perf/report/summary_runs.hpp"

namespace shmif::perf::summary_text {
namespace {

std::string combined_summary(const std::vector<HostResult>& hosts, const WholeRun& whole,
                             const std::vector<std::string>& files = {}) {
  const std::string json = combined_json(hosts, whole, Bins::without);
  return to_summary(Report::parse(json, "result").value(), 0, files);
}

TEST(Summary, OfARunOnServersSaysHowManyFailedAndNamesJobsWithTheirs) {
  RunResult bad = run_of("voip");
  fail(bad, 1, "it hung");
  const std::vector<HostResult> hosts{
      {.name = "a:1", .report = report_of(run_of("voip")), .failures = {}},
      {.name = "b:2", .report = report_of(bad), .failures = {}}};
  WholeRun whole;
  whole.version = "0.1.0";
  whole.began = std::chrono::system_clock::time_point(std::chrono::seconds(1763700000));
  whole.ended = whole.began + std::chrono::seconds(3);
  EXPECT_EQ(
      combined_summary(hosts, whole, {"r.json"}),
      "shmifperf 0.1.0: FAILED on 1 of 2 servers, no loss in 10,000 frames (exit code 1), took "
      "3.00 "
      "s\n"
      "  FAILED    b:2: job \"voip.sink\": it hung\n"
      "  job               role  frames      rate               lost       latency p50      p99\n"
      "  a:1/voip  passed    tx   5,000  2.50 k/s  2.00 Mbit/s     0  0 %      8.19 us  8.19 us\n"
      "  b:2/voip  FAILED    tx   5,000  2.50 k/s  2.00 Mbit/s     0  0 %      8.19 us  8.19 us\n"
      "nothing held the jobs back\n"
      "  wrote     r.json\n"
      "use --details for the rest\n");
  EXPECT_EQ(combined_summary({hosts[0]}, whole)
                .find("shmifperf 0.1.0: passed on 1 server, no loss in 5,000 frames"),
            0U);
}

TEST(Summary, OfARunOnServersThatWasStoppedCountsOnlyServersThatFailed) {
  const auto stopped = [] {
    RunResult run = run_of("voip");
    run.stopped_by_signal = SIGINT;
    run.exit_code = 130;
    return run;
  };
  RunResult bad = stopped();
  fail(bad, 1, "it hung");
  WholeRun whole;
  whole.version = "0.1.0";
  whole.signal = SIGINT;
  const HostResult calm{.name = "a:1", .report = report_of(stopped()), .failures = {}};
  const HostResult failed{.name = "b:2", .report = report_of(bad), .failures = {}};
  const HostResult idle{.name = "c:3", .report = {}, .failures = {}};
  const HostResult gone{.name = "d:4", .report = {}, .failures = {"it is gone"}};
  const auto outcomes = [&](const std::vector<HostResult>& hosts) {
    const std::string text = combined_text(hosts, whole);
    const std::string summary = combined_summary(hosts, whole);
    return text.substr(17, text.find('\n') - 17) + "; " +
           summary.substr(17, summary.find('\n') - 17);
  };
  EXPECT_EQ(outcomes({calm, failed}),
            "2 servers, 1 FAILED, stopped by SIGINT (exit code 130), took 0 s; "
            "FAILED on 1 of 2 servers, no loss in 10,000 frames "
            "(exit code 130), took 0 s, stopped by SIGINT");
  EXPECT_EQ(outcomes({calm, idle}),
            "2 servers, stopped by SIGINT (exit code 130), took 0 s; "
            "stopped by SIGINT on 2 servers, no loss in 5,000 frames "
            "(exit code 130), took 0 s");
  EXPECT_EQ(outcomes({idle, gone, failed}),
            "3 servers, 2 FAILED, stopped by SIGINT (exit code 130), took 0 s; "
            "FAILED on 2 of 3 servers, no loss in 5,000 frames "
            "(exit code 130), took 0 s, stopped by SIGINT");
}

}  // namespace
}  // namespace shmif::perf::summary_text
