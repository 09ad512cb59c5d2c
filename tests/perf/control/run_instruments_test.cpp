// The access heat of runs, beside what their frames must have used.

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "bus/layout.hpp"
#include "perf/control/campaign.hpp"
#include "perf/report/report.hpp"
#include "perf/result/instruments_of_run.hpp"
#include "shmif/heat_wire.hpp"
#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf::run_heat {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kHeadBytes = bus::kRingOffset;  // header and ports

const HeatOfJob& heat_of(const RunResult& result, const std::string& name) {
  const JobResult& job = job_of(result, name);
  if (!job.heat) throw std::runtime_error("no heat of " + name);
  return *job.heat;
}

const BusHistory& history_of(const RunResult& result, const std::string& name) {
  const HeatOfJob& heat = heat_of(result, name);
  if (!heat.history) throw std::runtime_error(name + ": " + heat.reason);
  return *heat.history;
}

bool tells_writes(const RunResult& result, const std::string& name) {
  return heat_of(result, name).provenance.writes_reason.empty();
}

TEST(RunHeat, ShowsWhichShareOfALargeRingTheFramesFilled) {
  const test::TempBus bus(test::roomy(4));
  const RunResult result = run_text("[global]\nheat\n[j]\nbus=" + bus.path() +
                                    "\nbs=1000\nrate_iops=1000\nruntime=20\nnumber_ios=2000\n");
  ASSERT_TRUE(passed(result));
  // A frame takes its bytes and a head in the ring. Looks come ten times a second, so what was used
  // last may be missing.
  constexpr double kFrames = 2000;
  constexpr double kLeast = 0.5 * kFrames * 1000;
  constexpr double kMax = kFrames * 1100 + kHeadBytes;
  for (const char* const name : {"j", "j.sink"}) {
    const BusHistory& history = history_of(result, name);
    EXPECT_EQ(history.bytes(), kHeadBytes + (4U << 20U));
    const auto touched = static_cast<double>(history.touched_bytes().value());
    EXPECT_GT(touched, kLeast) << name;
    EXPECT_LT(touched, kMax) << name;
    // In a window of 100 ms, about a hundred frames come.
    EXPECT_GT(history.working_set_bytes(50).value(), 20'000U) << name;
    EXPECT_LT(history.working_set_bytes(50).value(), 1'000'000U) << name;
  }
  if (!tells_writes(result, "j")) return;
  EXPECT_GT(static_cast<double>(history_of(result, "j").written_bytes().value()), kLeast);
  EXPECT_LE(history_of(result, "j.sink").written_bytes().value(), kHeadBytes)
      << "a receiver writes into its port alone";
}

TEST(RunHeat, LiesOnTheTimeAxisAndCountsFromTheEndOfTheRamp) {
  const RunResult result =
      run_text("[global]\nheat\n[j]\nengine=bus\nrate_iops=1000\nramp_time=700ms\nruntime=900ms\n");
  ASSERT_TRUE(passed(result));
  const BusHistory& history = history_of(result, "j");
  const HeatOfJob& heat = heat_of(result, "j");
  EXPECT_EQ(heat.attributes.sampling / 1ms, heat.provenance.precision == "page" ? 100 : 50);
  ASSERT_FALSE(history.rows().empty());
  EXPECT_GE(history.rows().front().begin_s, 0);
  EXPECT_LT(history.rows().front().begin_s, 0.7) << "the ramp is in the map";
  EXPECT_LE(history.rows().back().end_s, job_of(result, "j").intervals.back().at_seconds + 1);
  EXPECT_GT(history.windows(), 0U);
  const auto behind_ramp = std::ranges::count_if(
      history.rows(), [](const BusHeatRow& row) { return row.begin_s >= 0.7; });
  EXPECT_LE(history.windows(), static_cast<std::size_t>(behind_ramp));
  EXPECT_LT(history.windows(), history.rows().size());
  for (std::size_t i = 1; i < history.rows().size(); ++i) {
    EXPECT_GE(history.rows()[i].begin_s, history.rows()[i - 1].end_s);
  }
}

class RunHeatOneAfterTheOther : public testing::TestWithParam<const char*> {};

TEST_P(RunHeatOneAfterTheOther, IsOfEachJobItsOwnTime) {
  const RunResult result = run_text(std::string(GetParam()) +
                                    "heat\nengine=bus\nrate_iops=1000\nruntime=700ms\n"
                                    "[a]\n[b]\nstonewall\n");
  ASSERT_TRUE(passed(result));
  const auto& first = history_of(result, "a").rows();
  const auto& second = history_of(result, "b").rows();
  ASSERT_FALSE(first.empty());
  ASSERT_FALSE(second.empty());
  EXPECT_GE(second.front().end_s, 0.7);
  EXPECT_GT(second.back().end_s, first.back().end_s);
}

INSTANTIATE_TEST_SUITE_P(Jobs, RunHeatOneAfterTheOther,
                         testing::Values("[global]\n", "[global]\nthread\n"));

TEST(RunHeat, SaysOfEachJobWithoutAPictureWhyThereIsNone) {
  const RunResult result = run_text(
      "[global]\nheat\ncontinue_on_start_error\nrate_iops=1000\nruntime=300ms\n"
      "[elsewhere]\nengine=unix\n[failed]\nexec_prerun=false\n");
  for (const auto& [name, words] :
       {std::pair{"elsewhere", "it is on no bus"}, {"failed", "did not start"}}) {
    const HeatOfJob& heat = heat_of(result, name);
    EXPECT_FALSE(heat.history) << name;
    EXPECT_NE(heat.reason.find(words), std::string::npos) << name << ": " << heat.reason;
  }
}

TEST(RunHeat, LeavesNeitherItsDirectoryNorItsVariableBehind) {
  const std::string before = std::getenv(heat::kVariable) ? std::getenv(heat::kVariable) : "";
  std::string during;
  const RunResult result =
      run_text("[global]\nheat\n[j]\nengine=bus\nrate_iops=1000\nruntime=300ms\n",
               [&](const auto&) { during = std::getenv(heat::kVariable); });
  ASSERT_TRUE(passed(result));
  EXPECT_NE(during, before);
  EXPECT_FALSE(std::filesystem::exists(during)) << during;
  const std::string after = std::getenv(heat::kVariable) ? std::getenv(heat::kVariable) : "";
  EXPECT_EQ(after, before);
}

}  // namespace

}  // namespace shmif::perf::run_heat

namespace shmif::perf::run_membw {

// The memory bandwidth of runs, beside what the run says of the same traffic.

namespace {

using Json = nlohmann::json;

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
               ("runtime=1500ms\nbus=" + bus.path()) + "\n[j]\nwire=a\n[k]\nwire=b\nstonewall\n");
  ASSERT_TRUE(passed(result));
  EXPECT_EQ(std::ranges::count(result.membw->measured.sources, "bus", &MemorySummary::part), 1);
  ASSERT_FALSE(result.membw->measured.samples.empty());
  std::uint64_t last_ns = 0;
  for (const MembwSample& sample : result.membw->measured.samples) {
    for (std::size_t at = 0; at < sample.readings.size(); ++at) {
      if (sample.readings[at].begin_ns == 0) continue;  // of a source that is not there
      EXPECT_GE(sample.readings[at].begin_ns, result.membw->start_ns + 500'000'000);
      EXPECT_LE(sample.readings[at].end_ns, job_of(result, "k").tx.end_ns + 500'000'000);
      last_ns = std::max(last_ns, sample.readings[at].end_ns);
    }
  }
  EXPECT_GT(last_ns, job_of(result, "j").tx.end_ns + 500'000'000) << "of the second job, too";
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
