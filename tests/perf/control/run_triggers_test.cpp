// A trigger fires once: it stops all jobs, which save their states, and then runs its command.

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "perf/verify/verify_state.hpp"
#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf {
namespace {

using test::failed;
using test::flow_to;
using test::job_of;
using test::passed;

class RunTrigger : public testing::Test {
 protected:
  /// A run that would last for long, with such a trigger.
  RunResult run(const std::string& trigger, const test::Meddler::Deed& deed = [](const auto&) {}) {
    JobSet set = test::set_of("[global]\naux-path=" + dir_.path() +
                              "\ntrigger=sh -c \"echo ran >>" + ran() + "\"\n" + trigger +
                              "\nrate_iops=1000\nruntime=20\ndrain_time=50ms\n"
                              "[a]\n[b]\nengine=unix\n");
    set.run.allow_exec = allow_exec_;
    return test::run(expand(set).value(), set.run, deed);
  }
  std::string ran() const { return dir_.file("ran"); }
  std::string text_of(const std::string& path) const {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void expect_fired(const RunResult& result, const std::string& why) {
    EXPECT_TRUE(passed(result));
    EXPECT_TRUE(std::ranges::any_of(result.warnings, [&](const std::string& text) {
      return text.find(why) != std::string::npos;
    })) << why;
    EXPECT_EQ(text_of(ran()), "ran\n") << "once";
    for (const char* job : {"a", "b"}) {
      EXPECT_LT(job_of(result, job).tx.seconds, 15) << job;
      EXPECT_EQ(flow_to(result, job + std::string(".sink")).lost, 0U) << "it was drained";
      EXPECT_TRUE(std::filesystem::exists(verify_state_path(dir_.path(), job))) << job;
    }
  }

  test::TempDir dir_;
  bool allow_exec_ = true;
};

TEST_F(RunTrigger, FiresWhenAFileAppearsAndTakesItAway) {
  const std::string file = dir_.file("now");
  bool made = false;
  const RunResult result = run("trigger-file=" + file, [&](const RunProgress& progress) {
    if (made || progress.jobs[1].rx_frames < 50) return;
    made = true;
    std::ofstream{file};
  });
  expect_fired(result, "file " + file + " appeared");
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(RunTrigger, FiresWhenItsTimeHasPassed) {
  const RunResult result = run("trigger-timeout=300ms");
  expect_fired(result, "trigger-timeout has passed");
  EXPECT_GE(job_of(result, "a").tx.frames, 200U);
}

TEST_F(RunTrigger, FiresWhenAFrameMatches) {
  expect_fired(run("trigger-match=ether proto 0x88b5 and ether[30:4] = 0x64000000"),
               "a frame matched");
}

TEST_F(RunTrigger, OneSignalEndsTheRunAndNotItsCommand) {
  class Signals final : public RunObserver {
   public:
    RunControl control;
    void on_trigger(const std::string&) override {
      control.signal = SIGINT;
      control.stops = 1;
    }
    void on_progress(const RunProgress&) override {}
    void on_interval(const RunProgress&) override {}
  };
  const JobSet set =
      test::set_of("[global]\ntrigger-timeout=20ms\ntrigger=sh -c \"echo ran >>" + ran() +
                   "\"\naux-path=" + dir_.path() +
                   "\n[a]\nengine=unix\nrate_iops=1000\nruntime=20\ndrain_time=10ms\n");
  Signals signals;
  const RunResult result =
      Runner::create(set.run, expand(set).value()).value()->run(&signals, signals.control);
  EXPECT_TRUE(result.trigger_fired);
  EXPECT_EQ(result.stopped_by_signal, SIGINT);
  EXPECT_TRUE(result.failures.empty()) << result.failures.front();
  EXPECT_EQ(text_of(ran()), "ran\n");
}

TEST_F(RunTrigger, ACommandThatFailsFailsTheRun) {
  const JobSet set = test::set_of(
      "[global]\ntrigger-timeout=50ms\ntrigger=false\n[a]\nrate_iops=1000\nruntime=20\n");
  EXPECT_TRUE(failed(test::run(expand(set).value(), set.run),
                     "the trigger's command: false ended with status 1"));
}

TEST_F(RunTrigger, AServerRunsNoCommandUnlessItWasToldTo) {
  allow_exec_ = false;
  const RunResult result = run("trigger-timeout=50ms");
  EXPECT_TRUE(failed(result, "--allow-exec"));
  EXPECT_FALSE(std::filesystem::exists(ran()));
}

TEST_F(RunTrigger, AFilterThatIsNoneIsAnErrorOfTheStart) {
  const RunResult result = run("trigger-match=no such filter");
  EXPECT_TRUE(failed(result, "did not start"));
  EXPECT_TRUE(failed(result, "no such filter"));
}

}  // namespace
}  // namespace shmif::perf
