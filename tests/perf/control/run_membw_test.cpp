// The memory bandwidth of runs, beside what the run says of the same traffic.

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "perf/control/campaign.hpp"
#include "perf/report/report.hpp"
#include "perf/result/instruments_of_run.hpp"
#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf::run_membw {
namespace {

using Json = nlohmann::json;
using test::passed;
using test::run_text;

const MemorySummary& source(const RunResult& result, const std::string& label) {
  if (!result.membw) throw std::runtime_error("no memory bandwidth");
  for (const MemorySummary& each : result.membw->measured.sources) {
    if (each.label() == label) return each;
  }
  throw std::runtime_error("no source " + label);
}

TEST(RunMembw, CountsTheBytesOfTheBusInTheWindow) {
  const RunResult result = run_text(
      "[global]\nmembw\n[j]\nengine=bus\nbs=1000\nrate_iops=2000\nramp_time=300ms\nruntime=2s\n");
  ASSERT_TRUE(passed(result));
  const MemorySummary& bus = source(result, "software:bus");
  EXPECT_TRUE(bus.origin.starts_with("/")) << bus.origin;
  ASSERT_TRUE(bus.rates.writes) << bus.rates.reason;
  // Windows begin anywhere between two frames, and a busy machine sends some of them late.
  constexpr double kRate = 2e6;
  EXPECT_NEAR(*bus.rates.writes, kRate, 0.2 * kRate);
  ASSERT_TRUE(bus.rates.reads) << bus.rates.reason;
  EXPECT_NEAR(*bus.rates.reads, kRate, 0.2 * kRate);
  EXPECT_GT(bus.samples, 0U);
  EXPECT_FALSE(result.membw->measured.partial);
}

TEST(RunMembw, LiesOnTheTimeAxisBehindTheRampAndCountsABusOnce) {
  const test::TempBus bus(test::roomy(4));
  const RunResult result =
      run_text("[global]\nmembw\nrate_iops=1000\nramp_time=500ms\n" +
               ("runtime=1500ms\nbus=" + bus.path()) + "\n[j]\nwire=a\n[k]\nwire=b\n");
  ASSERT_TRUE(passed(result));
  EXPECT_EQ(std::ranges::count(result.membw->measured.sources, "bus", &MemorySummary::part), 1);
  ASSERT_FALSE(result.membw->measured.samples.empty());
  for (const MembwSample& sample : result.membw->measured.samples) {
    for (std::size_t at = 0; at < sample.readings.size(); ++at) {
      if (sample.readings[at].begin_ns == 0) continue;  // of a source that is not there
      EXPECT_GE(sample.readings[at].begin_ns, result.membw->start_ns + 500'000'000);
      EXPECT_LE(sample.readings[at].end_ns, result.jobs[0].tx.end_ns + 500'000'000);
    }
  }
}

TEST(RunMembw, CountsWhatJobsSendAndReceiveThroughSockets) {
  constexpr double kFrame = 1400, kFps = 2000;
  for (const char* const jobs :
       {"[j]\nengine=unix\n", "[j]\nengine=udp\n", "[j]\nengine=stream\nthread\n"}) {
    SCOPED_TRACE(jobs);
    const RunResult result =
        run_text(std::string("[global]\nmembw\nbs=1400\nrate_iops=2k\nruntime=2s\n") + jobs);
    ASSERT_TRUE(passed(result));
    const MemorySummary& sockets = source(result, "software:sockets");
    EXPECT_EQ(sockets.scope, MemoryScope::group);
    EXPECT_EQ(sockets.level, MemoryLevel::copied);
    ASSERT_TRUE(sockets.rates.reads && sockets.rates.writes) << sockets.rates.reason;
    // Windows begin anywhere between two frames, and a busy machine sends some of them late.
    EXPECT_NEAR(*sockets.rates.writes, kFrame * kFps, 0.2 * kFrame * kFps);
    EXPECT_NEAR(*sockets.rates.reads, kFrame * kFps, 0.2 * kFrame * kFps);
    // Each frame is copied to the kernel, and from it.
    const Json json = Json::parse(to_json(result, Bins::without));
    const auto& sources = json["membw"]["sources"];
    const auto shown = std::ranges::find(sources, Json("sockets"),
                                         [](const Json& each) { return each.at("part"); });
    ASSERT_NE(shown, sources.end());
    EXPECT_NEAR((*shown)["bytes_per_frame"].get<double>(), 2 * kFrame, 0.2 * 2 * kFrame);
    // What does not see these frames does not say that there were none.
    const MemorySummary& io = source(result, "software:io");
    EXPECT_FALSE(io.rates.total);
    EXPECT_NE(io.rates.reason.find("see software:sockets"), std::string::npos) << io.rates.reason;
  }
}

TEST(RunMembw, OfAStoppedRunIsPartial) {
  const RunResult result =
      test::run_stopped("[global]\nmembw\n[j]\nengine=bus\nrate_iops=1000\nruntime=600\n", SIGINT,
                        1, [](const auto& run) { return run.jobs[0].tx_frames >= 100; });
  ASSERT_TRUE(result.membw);
  EXPECT_TRUE(result.membw->measured.partial);
}

}  // namespace
}  // namespace shmif::perf::run_membw
