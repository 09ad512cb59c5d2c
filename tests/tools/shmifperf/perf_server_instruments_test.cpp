// The instruments of a run on a server: what they found there is in the client's result.

#include <gtest/gtest.h>

#include "perf/report/report.hpp"
#include "tests/tools/shmifperf/perf_server_rig.hpp"

namespace shmif::test {
namespace {

Json value_of(const Json& list, const std::string& name) {
  for (const Json& each : list) {
    if (each.at("name") == name) return each;
  }
  return {};
}

TEST(PerfServerInstruments, CountersAndMemoryBandwidthOfTwoServersAreInOneResult) {
  RunningServer first;
  RunningServer second;
  const ToolResult result = run_program(
      client_words(first.address() + ',' + second.address(),
                   {"--name=flow", "--rw=tx", "--bs=1000", "--rate_iops=5000", "--runtime=1500ms",
                    "--counters=page-faults:u,task-clock:u", "--membw", "--output-format=json"}));
  ASSERT_EQ(result.status, 0) << result.err << result.out;
  const auto report = perf::Report::parse(result.out, "of two servers");
  ASSERT_TRUE(report) << report.error().message;
  const Json& json = report->json();
  ASSERT_EQ(json.at("hosts").size(), 2U);
  EXPECT_FALSE(json.contains("membw") && !json.at("membw").is_null()) << "each machine has its own";
  for (const Json& host : json.at("hosts")) {
    bool bus = false;
    for (const Json& source : host.at("membw").at("sources")) {
      if (source.at("source") != "software" || source.at("part") != "bus") continue;
      bus = true;
      EXPECT_GT(source.at("write_bytes_per_s"), 0) << source;
    }
    EXPECT_TRUE(bus) << host.at("membw");
  }
  ASSERT_EQ(json.at("jobs").size(), 4U) << "two senders and two receivers";
  for (const Json& job : json.at("jobs")) {
    SCOPED_TRACE(job.at("jobname"));
    const Json clock = value_of(job.at("counters"), "task-clock:u");
    EXPECT_EQ(clock.at("value").is_null(), !clock.at("reason").is_null()) << clock;
    ASSERT_FALSE(job.at("counter_intervals").empty());
    for (const Json& interval : job.at("counter_intervals")) {
      ASSERT_EQ(interval.at("values").size(), 2U);
      EXPECT_EQ(interval.at("values").at(1).at("value").is_null(), clock.at("value").is_null());
    }
  }
}

}  // namespace
}  // namespace shmif::test
