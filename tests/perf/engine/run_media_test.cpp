// What becomes of jobs whose medium fails them: a bus that goes, a receiver that takes nothing, a
// ring that overruns.

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <thread>

#include "tests/perf/control/run_plan.hpp"
#include "tests/support/raw_bus.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;
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
  int looks = 0;
  const RunResult result = test::run_stopped(
      "[global]\nstuck_timeout=1\n[j]\nengine=unix\nbs=1000\nrate_iops=20k\nruntime=60\n"
      "drain_time=100ms\n",
      SIGINT, 1, [&](const RunProgress& progress) {
        if (looks == 0 && progress.jobs[1].rx_frames < 50) return false;
        if (++looks == 1) send_signal(progress.jobs[1], SIGSTOP);
        return looks == 3;
      });
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

// ---- Others write, and receivers end early ----

/// Waits until the sender has sent on the bus what begins at the position that is its end now.
std::uint64_t next_record(const test::RawBus& bus) {
  const std::uint64_t position = bus::load_acquire(bus.header().last);
  while (bus::load_acquire(bus.header().last) == position) std::this_thread::sleep_for(1ms);
  return position;
}

TEST(RunMeddled, ARecordThatWasOverwrittenFailsTheRunAndIsNoOverrun) {
  const test::TempBus bus(test::roomy(4));
  const test::RawBus raw(bus.path());
  bool done = false;
  const RunResult result =
      run_text("[j]\nbus=" + bus.path() + "\nrate_iops=2000\nruntime=10\ndrain_time=50ms\n",
               [&](const RunProgress& progress) {
                 if (done || progress.jobs[1].rx_frames == 0) return;
                 done = true;
                 send_signal(progress.jobs[1], SIGSTOP);  // so it has not read the record
                 std::uint64_t& word = raw.ring().record(next_record(raw)).word;
                 bus::store_seq_cst(word, ~bus::load_acquire(word));
                 send_signal(progress.jobs[1], SIGCONT);
               });
  EXPECT_TRUE(failed(result, "job \"j.sink\": cannot receive on bus:" + bus.path() +
                                 ": the shared memory is corrupt"));
  const JobResult& sink = job_of(result, "j.sink");
  EXPECT_EQ(sink.overruns, 0U);
  EXPECT_EQ(sink.overrun_frames, 0U);
  EXPECT_EQ(sink.counts.wire.corrupt, 1U);
  EXPECT_EQ(sink.rx.errors, 1U);
  EXPECT_EQ(job_of(result, "j").counts.wire.corrupt, 0U) << "it does not read the ring";
}

/// Sends copies of a frame of the run with other numbers, as if its sender had.
void forge(const std::string& path, std::initializer_list<std::uint64_t> numbers) {
  std::vector<test::Witnessed> seen = test::witnessed(path);
  ASSERT_FALSE(seen.empty());
  std::vector<std::byte>& bytes = seen.back().bytes;
  Probe probe = seen.back().probe();
  Port port = test::port_on(path);
  for (const std::uint64_t number : numbers) {
    probe.sequence = number;
    write_probe(bytes, probe_offset(bytes), probe);
    EXPECT_EQ(port.send(FrameView(bytes.data(), bytes.size())).taken, 1U);
  }
}

TEST(RunMeddled, ForgedFramesBehindTheLastOneThatWasSentHideNoLoss) {
  const test::TempBus bus(test::roomy(4));
  bool done = false;
  const RunResult result =
      run_text("[j]\nbus=" + bus.path() +
                   "\nrate_iops=2000\nnumber_ios=1000\ndrain_time=50ms\nfault=loss=5%,seed=3\n"
                   "continue_on_error=verify\n",
               [&](const RunProgress& progress) {
                 if (done || progress.jobs[1].rx_frames == 0) return;
                 done = true;
                 forge(bus.path(), {1000, 1001, 1003, 5000, UINT64_MAX});
               });
  ASSERT_TRUE(done);
  const std::uint64_t lost = result.links.at(0).faults.lost;
  EXPECT_GT(lost, 10U);
  const FlowResult& flow = flow_to(result, "j.sink");
  EXPECT_EQ(flow.sent, 1000U);
  EXPECT_EQ(flow.lost, lost);
  EXPECT_EQ(flow.received, 1000U - lost);
  EXPECT_EQ(flow.duplicates, 0U);
  const JobResult& sink = job_of(result, "j.sink");
  EXPECT_EQ(sink.rx.foreign_frames, 2U) << "5000, and the greatest number there is";
  const auto verify = static_cast<std::size_t>(ErrorClass::verify);
  EXPECT_EQ(sink.errors_by_class[verify].count, 5U);
  EXPECT_TRUE(sink.errors_by_class[verify].first.ends_with(" was not sent by j"))
      << sink.errors_by_class[verify].first;
}

TEST(RunMeddled, WhatAReceiverHadNotReadAtTheEndOfItsDrainTimeIsTold) {
  bool done = false;
  const RunResult result = run_text(
      "[j]\nbus_pause\nrate_iops=2000\nnumber_ios=400\ndrain_time=20ms\n",
      [&](const RunProgress& progress) {
        if (done || progress.jobs[1].rx_frames == 0) return;
        done = true;
        send_signal(progress.jobs[1], SIGSTOP);
        std::this_thread::sleep_for(1s);  // longer than the sender sends and the drain lasts
        send_signal(progress.jobs[1], SIGCONT);
      });
  EXPECT_TRUE(passed(result));
  const FlowResult& flow = flow_to(result, "j.sink");
  ASSERT_GT(flow.lost, 0U);
  EXPECT_EQ(flow.sent, 400U);
  const std::string text = std::to_string(flow.lost);
  ASSERT_EQ(result.warnings.size(), 1U);
  EXPECT_EQ(result.warnings[0], "j.sink: lost " + text +
                                    " frames; when its drain_time ended, it had " + text +
                                    " frames of " + job_of(result, "j.sink").address +
                                    " still to read (give a longer drain_time)");
}

}  // namespace
}  // namespace shmif::perf
