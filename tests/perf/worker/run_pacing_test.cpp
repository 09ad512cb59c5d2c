// Each frame leaves at its time and not before, at any rate: as an independent capture shows.

#include <cmath>
#include <map>
#include <ostream>

#include "tests/perf/control/run_plan.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;

/// How late each frame was on the bus, by the capture's clock. That is the wall clock: the frame
/// that was handed over soonest tells how far it is from the other one.
std::vector<double> lateness_of(const std::vector<Witnessed>& frames) {
  std::uint64_t between = UINT64_MAX;
  for (const Witnessed& w : frames) between = std::min(between, w.time_ns - w.probe().sent_ns);
  std::vector<double> late;
  for (const Witnessed& w : frames) {
    late.push_back(static_cast<double>(w.time_ns - between) -
                   static_cast<double>(w.probe().intended_ns));
  }
  return late;
}

/// A rate, and so many frames at it.
struct Pace {
  const char* options;
  double per_s;
  std::uint64_t frames;
};
void PrintTo(const Pace& pace, std::ostream* out) {
  *out << pace.options;
}

/// How much later the last tenth of the frames left than the first, ns, by those that nothing held
/// up: of a rate that is not kept, more the longer it lasts.
double drift_of(const std::vector<Witnessed>& frames) {
  const std::vector<double> late = lateness_of(frames);
  const auto tenth = static_cast<std::ptrdiff_t>((late.size() + 9) / 10);
  const double begin = *std::min_element(late.begin(), late.begin() + tenth);
  const double end = *std::min_element(late.end() - tenth, late.end());
  return std::abs(end - begin);
}

/// Each frame is intended for its time, to the nanosecond, and leaves no sooner.
void expect_intended(const std::vector<Witnessed>& frames, double per_s) {
  const std::uint64_t start = frames.front().probe().intended_ns;
  for (std::size_t n = 0; n < frames.size(); ++n) {
    const double due = static_cast<double>(n) * 1e9 / per_s;
    ASSERT_NEAR(static_cast<double>(frames[n].probe().intended_ns - start), due, 1.001) << n;
    ASSERT_GE(frames[n].probe().sent_ns, frames[n].probe().intended_ns) << n;
  }
}

class RunPacing : public testing::TestWithParam<Pace> {};

TEST_P(RunPacing, ACaptureShowsTheRate) {
  const Pace& pace = GetParam();
  if (test::kSanitized && pace.per_s > 50e3) GTEST_SKIP() << "under sanitizers nothing is so fast";
  const double took = static_cast<double>(pace.frames) * 1e9 / pace.per_s;
  const double allowed = std::max(took * 0.005, 5e6);
  // A CPU that was taken away in the last moments makes any of them late: the best of some.
  double drift = 1e18;
  for (int attempt = 0; attempt < 5 && drift > allowed; ++attempt) {
    const test::TempBus bus(test::roomy(pace.frames > 10'000 ? 64 : 8));
    const RunResult result =
        run_text("[j]\nbs=100\nbus=" + bus.path() + "\nnumber_ios=" + std::to_string(pace.frames) +
                 '\n' + pace.options + '\n');
    EXPECT_TRUE(passed(result));
    const auto frames = witnessed(bus.path());
    ASSERT_EQ(frames.size(), pace.frames);
    expect_intended(frames, pace.per_s);
    EXPECT_EQ(job_of(result, "j").tx.offered_frames, pace.frames);
    EXPECT_EQ(job_of(result, "j").spacing_error->count(), pace.frames);
    drift = std::min(drift, drift_of(frames));
  }
  EXPECT_LE(drift, allowed);
}

INSTANTIATE_TEST_SUITE_P(
    At, RunPacing,
    testing::Values(Pace{"rate_iops=30", 30, 25}, Pace{"rate_iops=30k", 30e3, 6000},
                    Pace{"rate_iops=1M", 1e6, 200'000}, Pace{"rate=800kbit", 1000, 300},
                    // The time of a frame is no whole number of ns, and what is over is carried on.
                    Pace{"rate=7Mbit", 7e6 / 800, 3000},
                    Pace{"rate=8Mbit\nrate_overhead=24", 8e6 / 992, 2000},
                    Pace{"rate=80Mbit\nrate_iops=700", 700, 200}));

TEST(RunStart, SixteenProcessesHaveOneStartAndSayHowLateTheyWere) {
  const test::TempBus bus(test::roomy(4));
  std::vector<PlannedJob> plan;
  for (int i = 0; i < 8; ++i) {
    auto two = test::pair(Role::tx, EngineKind::bus);
    const std::string n = std::to_string(i);
    two[0].options.bus = two[1].options.bus = bus.path();
    two[0].options.name = "tx" + n;
    two[1].options.name = "rx" + n;
    two[0].options.rate_fps.tx = 100;
    two[0].options.runtime = {};
    two[0].options.number_ios = 20;
    two[0].options.drain_time = 100ms;
    two[0].to = plan.size() + 1;
    plan.insert(plan.end(), two.begin(), two.end());
  }
  const RunResult result = test::run(plan);
  ASSERT_TRUE(passed(result));
  std::uint64_t worst = 0;
  for (const JobResult& each : result.jobs) {
    ASSERT_TRUE(each.start_skew_ns.has_value()) << each.name;
    worst = std::max(worst, *each.start_skew_ns);
  }
  EXPECT_EQ(result.groups.at(0).start_skew_ns, worst);
  std::map<std::uint32_t, std::uint64_t> due;
  for (const Witnessed& w : witnessed(bus.path())) {
    EXPECT_GE(w.probe().sent_ns, w.probe().intended_ns);
    due.try_emplace(w.probe().flow, w.probe().intended_ns);
  }
  EXPECT_EQ(due.size(), 8U);
  for (const auto& [flow, first] : due) {
    EXPECT_EQ(first, due.begin()->second) << "the first frame of flow " << flow << " was due";
  }
}

TEST(RunPace, ThinkTimeDoesNotOutlastTheRuntimeAndIsSpunAsFarAsToldTo) {
  const RunResult result = run_text(
      "[global]\nengine=null\nruntime=200ms\n[sleeps]\nthinktime=30s\nthinktime_blocks=3\n"
      "[spins]\nstonewall\nthinktime=30s\nthinktime_spin=30s\nthinktime_blocks=3\n");
  EXPECT_TRUE(passed(result));
  for (const char* name : {"sleeps", "spins"}) {
    EXPECT_EQ(job_of(result, name).tx.frames, 3U);
    EXPECT_LT(job_of(result, name).tx.seconds, 5);
  }
  const auto busy = [&](const char* name) {
    const CpuResult cpu = job_of(result, name).cpu.value();
    return cpu.user_seconds + cpu.system_seconds;
  };
  EXPECT_GT(busy("spins"), 3 * busy("sleeps"));
}

}  // namespace
}  // namespace shmif::perf
