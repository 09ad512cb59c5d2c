// Planted truth in whole runs: something happens to the receiver of a run at a known time, and the
// run's result names it, with that time.

#include <nlohmann/json.hpp>

#include "perf/report/report.hpp"
#include "tests/perf/control/run_rig.hpp"
#include "tests/perf/why/planted_rig.hpp"

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

struct Times {
  double begin_s = 0, end_s = 0;
};

/// The JSON of a run, in which `begin` and `end` are called at about kBegin, and kDuring later;
/// `times` says when they were.
Json run_with(std::uint64_t frames_per_second, const std::function<void(const JobProgress&)>& begin,
              const std::function<void(const JobProgress&)>& end, Times& times) {
  go_first(kWatcherPriority);
  const RunResult result =
      shmif::test::run(plan_of_pair(frames_per_second), {}, [&](const RunProgress& run) {
        if (run.at_seconds >= kBegin && times.begin_s == 0) {
          times.begin_s = run.at_seconds;
          begin(run.jobs.at(1));
        }
        const bool begun = times.begin_s > 0;
        if (begun && run.at_seconds >= times.begin_s + kDuring && times.end_s == 0) {
          times.end_s = run.at_seconds;
          end(run.jobs.at(1));
        }
      });
  return Json::parse(to_json(result, Bins::without));
}

/// The heaviest cause of the receiver; null if there is none.
Json first_of_receiver(const Json& run) {
  for (const Json& cause : run.at("causes")) {
    if (cause.at("job") == "second") return cause;
  }
  return nullptr;
}

void expect_first_in(const Json& run, const Times& times, const std::string& kind) {
  const Json first = first_of_receiver(run);
  ASSERT_TRUE(first.is_object()) << run.at("causes") << run.at("causes_reason");
  EXPECT_EQ(first.at("cause"), kind) << run.at("causes");
  const double begin = first.at("begin_s"), end = first.at("end_s");
  const double both = std::min(end, times.end_s) - std::max(begin, times.begin_s);
  constexpr double kMax = 0.6;
  const auto told = [&] {
    return "planted at " + std::to_string(times.begin_s) + " to " + std::to_string(times.end_s) +
           "; found: " + run.at("causes").dump();
  };
  EXPECT_GE(both, kMax * (times.end_s - times.begin_s)) << told();
  EXPECT_GE(both, kMax * (end - begin)) << told();
}

TEST(PlantedInARun, AHogOnTheReceiversCpuIsNamedForItAndItsTime) {
  Hogs hogs(allowed_cpus().back());
  Times times;
  // As fast as it can: a receiver with little to do gets the CPU from any hog.
  const Json run = run_with(
      0, [&](const JobProgress&) { hogs.begin(); }, [&](const JobProgress&) { hogs.end(); }, times);
  expect_first_in(run, times, "waited_for_cpu");
  const std::string sentence = first_of_receiver(run).value("sentence", "");
  EXPECT_EQ(sentence.find("second was runnable but not running for "), 0U) << sentence;
  EXPECT_GT(run.at("why").at("looks"), 10);
}

TEST(PlantedInARun, AStoppedReceiverIsNamedWithTheLossesOfThatTime) {
  Times times;
  constexpr std::uint64_t kFramesPerSecond = 20'000;
  const Json run = run_with(
      kFramesPerSecond, [](const JobProgress& rx) { shmif::test::send_signal(rx, SIGSTOP); },
      [](const JobProgress& rx) { shmif::test::send_signal(rx, SIGCONT); }, times);
  expect_first_in(run, times, "stopped");
  EXPECT_GE(first_of_receiver(run).at("of_losses_share"), 0.8) << run.at("causes");
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
