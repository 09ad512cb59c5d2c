// Planted truth in whole runs: something happens to the receiver of a run at a known time, and the
// run's result names it, with that time.

#include <nlohmann/json.hpp>

#include "perf/report/report.hpp"
#include "tests/instruments/why/planted_rig.hpp"
#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf::test {
namespace {

using Json = nlohmann::json;

constexpr double kBegin = 1.2, kDuring = 1.5;

/// "first" sends to "second" for 3.5 s, over a small bus. Each has a CPU.
std::vector<PlannedJob> plan_of_pair(std::uint64_t frames_per_second) {
  auto plan = shmif::test::pair(Role::tx, EngineKind::bus);
  const std::vector<int> cpus = allowed_cpus();
  for (PlannedJob& job : plan) {
    job.options.runtime = std::chrono::milliseconds(3500);
    job.options.bus_size_bytes = 256U << 10U;
  }
  plan[0].options.rate_fps.tx = frames_per_second;
  plan[0].options.cpus_allowed = {cpus.front()};
  plan[1].options.cpus_allowed = {cpus.back()};
  if (may_go_first()) plan[1].options.rtprio = kSubjectPriority;
  return plan;
}

/// It is stopped at a known time, and loses meanwhile.
TEST(PlantedInARun, AStoppedReceiverIsNamedWithTheLossesOfThatTime) {
  double begin_s = 0, end_s = 0;
  constexpr std::uint64_t kFramesPerSecond = 20'000;
  go_first(kWatcherPriority);
  const RunResult result =
      shmif::test::run(plan_of_pair(kFramesPerSecond), {}, [&](const RunProgress& run) {
        if (run.at_seconds >= kBegin && begin_s == 0) {
          begin_s = run.at_seconds;
          shmif::test::send_signal(run.jobs.at(1), SIGSTOP);
        }
        if (begin_s > 0 && run.at_seconds >= begin_s + kDuring && end_s == 0) {
          end_s = run.at_seconds;
          shmif::test::send_signal(run.jobs.at(1), SIGCONT);
        }
      });
  const Json run = Json::parse(to_json(result, Bins::without));
  EXPECT_GT(run.at("why").at("looks"), 10);
  const Json& causes = run.at("causes");
  const auto first =
      std::ranges::find(causes, "second", [](const Json& cause) { return cause.at("job"); });
  ASSERT_NE(first, causes.end()) << causes << run.at("causes_reason");
  EXPECT_EQ(first->at("cause"), "stopped") << causes;
  const double begin = first->at("begin_s"), end = first->at("end_s");
  const double both = std::min(end, end_s) - std::max(begin, begin_s);
  constexpr double kMost = 0.6;
  EXPECT_GE(both, kMost * (end_s - begin_s)) << "stopped at " << begin_s << "; found: " << causes;
  EXPECT_GE(both, kMost * (end - begin)) << "stopped at " << begin_s << "; found: " << causes;
  EXPECT_GE(first->at("of_losses_share"), 0.8) << causes;
}

/// The receiver's socket overflows while it is stopped, and the kernel counts that.
TEST(PlantedInARun, DatagramsThatTheReceiverDidNotReadAreGivenToItsSocket) {
  auto plan = shmif::test::pair(Role::tx, EngineKind::udp);
  for (PlannedJob& job : plan) job.options.runtime = std::chrono::milliseconds(600);
  constexpr double kStop = 0.15;  // s
  bool stopped = false;
  // As fast as it can: more than the buffer holds.
  const auto once = [&] {
    stopped = false;
    return shmif::test::run(plan, {}, [&](const RunProgress& run) {
      if (run.at_seconds < kStop || std::exchange(stopped, true)) return;
      shmif::test::freeze(run.jobs.at(1), std::chrono::milliseconds(250));
    });
  };
  const RunResult result = shmif::test::run_until(
      once, [](const RunResult& run) { return run.jobs.at(1).flows.at(0).lost > 1000; });
  const Json run = Json::parse(to_json(result, Bins::without));
  const Json& causes = run.at("causes");
  const auto at = std::ranges::find(causes, "receive_buffer",
                                    [](const Json& cause) { return cause.at("cause"); });
  ASSERT_NE(at, causes.end()) << causes << run.at("why");
  EXPECT_EQ(at->at("job"), "second");
  EXPECT_GE(at->at("of_losses_share"), 0.9) << causes;
}

/// What was asked for is named first, and nothing else is blamed for it.
TEST(PlantedInARun, LossesThatWereAskedForAreGivenToTheFaultsAlone) {
  auto plan = shmif::test::pair(Role::tx, EngineKind::bus);
  for (PlannedJob& job : plan) job.options.runtime = std::chrono::milliseconds(400);
  plan[0].options.rate_fps.tx = 5000;
  plan[0].options.fault = parse_faults("loss=20%").value();
  const Json run = Json::parse(to_json(shmif::test::run(plan), Bins::without));
  ASSERT_FALSE(run.at("causes").empty()) << run.at("jobs");
  const Json& first = run.at("causes").at(0);
  EXPECT_EQ(first.at("cause"), "requested_faults");
  EXPECT_EQ(first.at("job"), "second");
  double all = 0;
  for (const Json& cause : run.at("causes")) {
    if (cause.at("of_losses_share").is_number()) all += cause.at("of_losses_share").get<double>();
  }
  EXPECT_NEAR(all, first.at("of_losses_share").get<double>(), 0.05) << run.at("causes");
  EXPECT_GE(first.at("of_losses_share"), 0.95);
}

TEST(PlantedInARun, NothingIsWatchedWithoutTheWish) {
  auto plan = shmif::test::pair(Role::tx, EngineKind::bus);
  RunOptions options;
  options.why = false;
  const Json run = Json::parse(to_json(shmif::test::run(std::move(plan), options), Bins::without));
  EXPECT_EQ(run.at("causes"), nullptr);
  EXPECT_EQ(run.at("causes_reason"), "it was turned off (why=0)");
  EXPECT_EQ(run.at("why"), nullptr);
}

}  // namespace
}  // namespace shmif::perf::test
