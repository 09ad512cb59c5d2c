// What becomes of jobs whose medium fails them: a bus that goes, a receiver that takes nothing, a
// ring that overruns.

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>

#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf {
namespace {

using test::failed;
using test::flow_to;
using test::job_of;
using test::passed;
using test::run_text;
using test::send_signal;

/// Does something once, when so many frames have come to the second job.
test::Meddler::Deed once_after(std::uint64_t frames, std::function<void(const RunProgress&)> deed) {
  return [=, done = false](const RunProgress& progress) mutable {
    if (done || progress.jobs[1].rx_frames < frames) return;
    done = true;
    deed(progress);
  };
}

TEST(RunMedia, ABusThatIsTakenAwayEndsEveryJobWhateverTheyGoOnAfter) {
  const test::TempBus bus;
  const RunResult result = run_text(
      "[j]\nbus=" + bus.path() +
          "\nrate_iops=1000\nruntime=60\ncontinue_on_error=all\ndrain_time=100ms\n",
      once_after(50, [&](const RunProgress&) { std::filesystem::resize_file(bus.path(), 0); }));
  EXPECT_TRUE(failed(
      result, "job \"j\": cannot send on bus:" + bus.path() + ": the bus file was truncated"));
  EXPECT_LT(job_of(result, "j").runtime_seconds.value_or(0), 40);
  EXPECT_GT(job_of(result, "j").tx.frames, 0U) << "what was counted till then is told";
}

TEST(RunMedia, ASenderWhomNobodyReceivesFromIsStoppedInTheMiddleOfItsWait) {
  RunControl control;
  int looks = 0;
  test::Meddler meddler([&](const RunProgress& progress) {
    if (looks == 0 && progress.jobs[1].rx_frames < 50) return;
    if (++looks == 1) send_signal(progress.jobs[1], SIGSTOP);
    if (looks != 3) return;
    control.signal = SIGINT;
    control.stops = 1;
  });
  const JobSet set = test::set_of(
      "[global]\nstuck_timeout=1\n[j]\nengine=unix\nbs=1000\nrate_iops=20k\nruntime=60\n"
      "drain_time=100ms\n");
  const RunResult result =
      Runner::create(set.run, expand(set).value()).value()->run(&meddler, control);
  EXPECT_TRUE(failed(result, "job \"j.sink\": is stuck"));
  EXPECT_EQ(job_of(result, "j").errors, std::vector<std::string>{}) << "it is not to blame";
  EXPECT_GT(job_of(result, "j").tx.refused_frames, 0U);
}

TEST(RunMedia, AnEngineThatTakesNothingForLongIsAnError) {
  const RunResult result =
      run_text("[global]\nstuck_timeout=100ms\n[j]\nengine=unix\nruntime=60\ndrain_time=50ms\n",
               once_after(50, [](const RunProgress& p) { send_signal(p.jobs[1], SIGSTOP); }));
  EXPECT_TRUE(failed(result, "job \"j\": the engine has taken no frame for 10 s"));
}

TEST(RunMedia, AnOverrunIsCountedAndItsFramesAreLostExactly) {
  const RunResult result = run_text("[j]\nbus_size=64k\nnumber_ios=200k\nbs=500\n");
  EXPECT_TRUE(passed(result)) << "an overrun is what an ordinary bus does";
  const JobResult& sink = job_of(result, "j.sink");
  const FlowResult& flow = flow_to(result, "j.sink");
  EXPECT_GT(sink.overruns.value_or(0), 0U);
  EXPECT_GT(flow.lost, 0U);
  EXPECT_EQ(flow.lost, *sink.overrun_frames) << "nothing else loses a frame";
  EXPECT_EQ(flow.received + flow.lost, flow.sent);
}

TEST(RunMedia, EndOnOverrunEndsTheJobAsDone) {
  const RunResult result = run_text(
      "[j]\nbus_size=64k\nbs=500\nrate_iops=20k\nruntime=60\nend_on=overrun\ndrain_time=100ms\n",
      once_after(10, [](const RunProgress& progress) {
        test::freeze(progress.jobs[1], std::chrono::milliseconds(50));
      }));
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(job_of(result, "j.sink").overruns, 1U);
  EXPECT_LT(job_of(result, "j").tx.seconds, 40) << "its sender stops with it";
}

}  // namespace
}  // namespace shmif::perf
