// Runs come to their end, whatever keeps one of their jobs, and what they say then adds up.

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "perf/control/campaign.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf {
namespace {

using test::failed;
using test::flow_to;
using test::job_of;
using test::passed;
using test::run_text;

/// A record of 2000 frames at `path`.
void make_record(const std::string& path) {
  ASSERT_TRUE(passed(
      run_text("[j]\nengine=unix\nrate_iops=20k\nnumber_ios=2000\nwrite_pcap=" + path + '\n')));
}

TEST(RunFinish, ConnectionsOfHostsThatSendBothWaysEndInOrder) {
  // Whoever is first to have all closes the connection that the other still looks at.
  const std::string hosts = "engine=host\nproto=tcp\nruntime=300ms\nbs=512\n";
  for (const char* const role : {"rw=pingpong\n", "rw=txrx\nrate_iops=2000\n"}) {
    const RunResult result = run_text("[j]\n" + hosts + role);
    EXPECT_TRUE(passed(result)) << role;
    EXPECT_EQ(flow_to(result, "j").lost, 0U) << role;
  }
}

TEST(RunFinish, AnEndlessReplayFlatOutStopsWhenToldTo) {
  const test::TempDir dir;
  make_record(dir.file("r"));
  const RunResult result = run_text(
      "[global]\ntrigger-timeout=200ms\n[j]\nruntime=60\ntime_based\nreplay_no_stall\n"
      "replay=" +
      dir.file("r") + '\n');
  EXPECT_TRUE(passed(result));
  EXPECT_LT(job_of(result, "j").tx.seconds, 30);
  EXPECT_EQ(job_of(result, "j").tx.offered_frames, job_of(result, "j").tx.frames)
      << "flat out asks for nothing that did not go";
}

TEST(RunFinish, JobsWithWeightsDoNotWaitForOneThatWaitsForThem) {
  const std::string job = "rw=tx\nengine=unix\nflow=1\nnumber_ios=1000\n";
  const RunResult result = run_text("[a]\n" + job + "[b]\nstonewall\n" + job + "[c]\n" + job);
  EXPECT_TRUE(passed(result));
  for (const char* const sink : {"a.sink", "b.sink", "c.sink"}) {
    EXPECT_EQ(flow_to(result, sink).received, 1000U) << sink;
  }
}

TEST(RunFinish, ABackgroundJobEndsWithTheLastJobThoughThatNeverStarted) {
  const RunResult result = run_text(
      "[global]\ncontinue_on_start_error\nstartup_timeout=300ms\n"
      "[noise]\nengine=unix\nbackground\nrate_iops=100\ndrain_time=50ms\n"
      "[j]\nengine=null\nrw=txrx\nnumber_ios=10\nexec_prerun=sleep 5\n");
  EXPECT_TRUE(failed(result, "job \"j\": did not start"));
  EXPECT_LT(job_of(result, "noise").tx.seconds, 30);
}

TEST(RunFinish, WhatWentIntoALinkWithFaultsIsWhatCameOutWasDroppedOrIsUnderWay) {
  // Each link passes on a hundred frames a second, and its queue has room for 300.
  const std::string faults = "=rate=80kbit,loss=10%,duplicate=20%,seed=5,queue=300\n";
  const RunResult result = run_text(
      "[global]\nbs=100\nrate_iops=5000\nnumber_ios=500\ndrain_time=20ms\n"
      "[j]\nrw=tx\nfault" +
      faults + "[to_k]\nrw=tx\nto=k\n[k]\nrw=rx\nfault_rx" + faults);
  EXPECT_TRUE(passed(result));
  const auto came_out = [&](std::size_t link) {
    const FaultsMade& made = result.links.at(link).faults;
    EXPECT_GT(made.lost, 0U);
    EXPECT_GT(made.duplicated, 0U);
    EXPECT_GT(made.queue_full, 0U);
    EXPECT_GT(made.under_way, 0U);
    return made.frames + made.duplicated - made.lost - made.queue_full - made.under_way;
  };
  EXPECT_EQ(came_out(0), job_of(result, "j").counts.wire.tx_frames);
  EXPECT_EQ(came_out(1), job_of(result, "k").counts.receiver_rx);
  EXPECT_EQ(result.links[1].faults.frames, job_of(result, "k").counts.wire.rx_frames);
}

TEST(RunFinish, WhatTheRampSkipsWasNotOffered) {
  bool frozen = false;
  const RunResult result = run_text(
      "[j]\nengine=unix\nrate_iops=1000\nrate_catchup=skip\nramp_time=600ms\nruntime=500ms\n"
      "drain_time=50ms\n",
      [&](const RunProgress& progress) {
        const JobProgress& sender = progress.jobs[0];
        if (frozen || sender.pid == 0 || sender.state != JobState::ramp) return;
        frozen = true;
        test::freeze(sender, std::chrono::milliseconds(200));
      });
  EXPECT_TRUE(passed(result));
  EXPECT_TRUE(frozen);
  EXPECT_EQ(job_of(result, "j").tx.offered_frames, 500U);
  EXPECT_LT(job_of(result, "j").tx.ramp_frames, 550U);
}

}  // namespace
}  // namespace shmif::perf
