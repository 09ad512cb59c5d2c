// The access heat of runs, beside what their frames must have used.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "bus/layout.hpp"
#include "perf/report/report.hpp"
#include "perf/result/instruments_of_run.hpp"
#include "shmif/heat_wire.hpp"
#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf::run_heat {
namespace {

using test::job_of;
using test::passed;
using test::run_text;
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
