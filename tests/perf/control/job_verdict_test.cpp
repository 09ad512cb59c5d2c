// Which results fail a job, and how it is said.

#include "perf/control/gather.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <vector>

namespace shmif::perf {
namespace {

/// A job that has sent and received, and what is judged of it.
struct Judged {
  PlannedJob plan;
  ControlledJob job{.plan = plan};
  JobResult result;

  Judged() {
    result.counts.generator_tx = result.counts.receiver_rx = 10;
    FlowResult& flow = result.flows.emplace_back();
    flow.from = "a";
    flow.sent = flow.received = 10;
  }
  std::string verdict() {
    judge(job, result);
    EXPECT_EQ(result.passed, result.errors.empty());
    return result.errors.empty() ? "" : result.errors.front();
  }
};

TEST(JobVerdict, PassesWhatAddsUp) {
  EXPECT_EQ(Judged().verdict(), "");
  Judged lossy;
  lossy.result.flows[0].received = 4;
  lossy.result.flows[0].lost = 3;
  lossy.result.flows[0].late = 2;
  lossy.result.flows[0].cancelled = 1;
  EXPECT_EQ(lossy.verdict(), "") << "losses are a result, no failure";
}

TEST(JobVerdict, ABusThatWasCorruptFailsTheJobThoughItsPortFoundItsWayAgain) {
  Judged sound;
  sound.result.counts.wire.corrupt = 0;
  EXPECT_EQ(sound.verdict(), "");
  Judged judged;
  judged.result.address = "bus:/b";
  judged.result.counts.wire.corrupt = 2;
  EXPECT_EQ(judged.verdict(),
            "found bus:/b corrupt 2 times, so frames may be lost, and more than were counted "
            "(another program has written into the bus; leave out 'bus', and the run makes its "
            "own)");
}

TEST(JobVerdict, CountsThatDifferFailTheJobAndAreShownSideBySide) {
  Judged judged;
  judged.result.counts.wire.tx_frames = 9;
  judged.result.counts.wire.rx_frames = 10;
  judged.result.counts.agree = false;
  EXPECT_EQ(judged.verdict(), "counts differ: sent 10, of which the wire counted 9");
}

TEST(JobVerdict, OfCountsThatDifferOnlyThoseAreShown) {
  const auto verdict = [](std::uint64_t tx, std::uint64_t rx) {
    Judged judged;
    judged.result.counts.wire.tx_frames = tx;
    judged.result.counts.wire.rx_frames = rx;
    judged.result.counts.agree = false;
    return judged.verdict();
  };
  EXPECT_EQ(verdict(10, 11), "counts differ: received 10, of which the wire counted 11");
  EXPECT_EQ(verdict(9, 12),
            "counts differ: sent 10, of which the wire counted 9; received 10, of which the wire "
            "counted 12");
  Judged receiver;
  receiver.result.counts.wire.rx_frames = 7;
  receiver.result.counts.agree = false;
  EXPECT_EQ(receiver.verdict(), "counts differ: received 10, of which the wire counted 7");
}

TEST(JobVerdict, FramesThatDoNotAddUpFailTheJob) {
  Judged judged;
  judged.result.flows[0].received = 9;
  EXPECT_EQ(judged.verdict(), "frames from \"a\" do not add up: sent 10, accounted for 9");
  Judged more;
  more.result.flows[0].received = 11;
  EXPECT_EQ(more.verdict(), "more frames of \"a\" were received than it sent: 11 of 10");
  Judged twice;
  twice.result.flows[0].cancelled = 1;
  EXPECT_EQ(twice.verdict(), "frames from \"a\" do not add up: sent 10, accounted for 11");
}

TEST(JobVerdict, FramesThatWereNotCheckedFailTheJob) {
  Judged judged;
  judged.result.flows[0].verification_complete = false;
  EXPECT_EQ(judged.verdict(), "the verification of frames from \"a\" is incomplete");
  Judged killed;
  killed.result.flows[0].verification_complete = false;
  killed.result.exit_signal = 9;
  EXPECT_EQ(killed.verdict(), "") << "that it was killed is said elsewhere";
}

TEST(JobVerdict, WhoMovedNothingFailsUnlessItWasStopped) {
  const auto idle = [](auto change) {
    Judged judged;
    judged.result = {};
    change(judged);
    return judged.verdict();
  };
  EXPECT_EQ(idle([](Judged& j) { j.plan.options.rate_fps.tx = 1; }),
            "moved no frame (perhaps no frame was due at this rate: see rate, rate_iops and "
            "runtime)");
  EXPECT_EQ(idle([](Judged& j) { j.result.tx.refused_frames = 1; }),
            "moved no frame (the engine took no frame; is it up?)");
  EXPECT_EQ(idle([](Judged& j) {
              j.plan.options.rw = Role::rx;
              j.result.rx.foreign_frames = 3;
            }),
            "moved no frame (only frames from other senders came)");
  EXPECT_EQ(idle([](Judged& j) {
              j.plan.options.rw = Role::echo;
              j.result.rx.foreign_frames = 3;
              j.result.rx.stale_frames = 1;
            }),
            "moved no frame (only frames of earlier runs came; verify_only checks those)");
  EXPECT_EQ(idle([](Judged&) {}), "moved no frame (see runtime, number_ios and size)");
  EXPECT_EQ(idle([](Judged& j) { j.plan.options.rate_bps.tx = 1; }),
            "moved no frame (perhaps no frame was due at this rate: see rate, rate_iops and "
            "runtime)");
  const auto unheard = [](Judged& j, std::uint64_t sent) {
    j.plan.options.rw = Role::rx;
    j.result.address = "unix:/a";
    FlowResult& flow = j.result.flows.emplace_back();
    flow.sent = flow.lost = sent;
  };
  EXPECT_EQ(idle([&](Judged& j) { unheard(j, 7); }),
            "moved no frame (did its senders reach unix:/a?)");
  EXPECT_EQ(idle([&](Judged& j) { unheard(j, 0); }),
            "moved no frame (its senders sent nothing in the measured window)");
  EXPECT_EQ(idle([&](Judged& j) {
              unheard(j, 0);
              j.plan.options.verify_only = true;
            }),
            "moved no frame (did its senders reach unix:/a?)")
      << "they are not of this run";
  EXPECT_EQ(idle([&](Judged& j) {
              unheard(j, 0);
              unheard(j, 7);
            }),
            "moved no frame (did its senders reach unix:/a?)")
      << "one of two has sent";
  EXPECT_EQ(idle([](Judged& j) {
              j.plan.options.rw = Role::rx;
              j.result.address = "unix:/a";
            }),
            "moved no frame (did its senders reach unix:/a?)")
      << "nobody knows of any";
  EXPECT_EQ(idle([](Judged& j) { j.job.stop_ns = 1; }), "");
  EXPECT_EQ(idle([](Judged& j) { j.plan.options.background = true; }), "");
}

TEST(JobVerdict, WhoWasToSendInItsWindowAndStoodStillFails) {
  const auto still = [](auto change) {
    Judged judged;
    judged.plan.options.runtime = std::chrono::seconds(2);
    judged.result.tx.seconds = 2;
    judged.result.tx.paced = true;
    judged.result.tx.offered_frames = 7;
    change(judged);
    return judged.verdict();
  };
  const auto nothing = [](Judged&) {};
  EXPECT_EQ(still(nothing),
            "sent none of the 7 frames that were due in its measured window of 2 s (the causes say "
            "what held it back)");
  EXPECT_EQ(still([](Judged& j) { j.result.tx.refused_frames = 1; }),
            "sent none of the 7 frames that were due in its measured window of 2 s (the engine "
            "took no frame; is it up?)");
  EXPECT_EQ(still([](Judged& j) { j.result.tx.paced = false; }),
            "sent no frame in its measured window of 2 s (the causes say what held it back)");
  EXPECT_EQ(still([](Judged& j) { j.result.tx.offered_frames = 1; }),
            "did not send the 1 frame that was due in its measured window of 2 s (the causes say "
            "what held it back)");
  const auto short_of_its_time = [](Judged& j) {
    j.result.tx.paced = false;
    j.plan.options.runtime = std::chrono::seconds(20);
  };
  EXPECT_EQ(still(short_of_its_time), "") << "it reached another limit";
  EXPECT_EQ(still([](Judged& j) { j.result.tx.frames = 1; }), "");
  EXPECT_EQ(still([](Judged& j) { j.result.tx.offered_frames = 0; }), "") << "none was due";
  EXPECT_EQ(still([](Judged& j) { j.result.tx.seconds = 0; }), "") << "it ended in its ramp";
  EXPECT_EQ(still([](Judged& j) { j.result.tx.of_program = true; }), "");
  EXPECT_EQ(still([](Judged& j) { j.plan.options.rw = Role::rx; }), "");
  EXPECT_EQ(still([](Judged& j) { j.plan.options.thinktime = std::chrono::seconds(9); }), "");
  EXPECT_EQ(still([](Judged& j) { j.plan.options.flow = 1; }), "");
  EXPECT_EQ(still([](Judged& j) { j.plan.options.background = true; }), "");
  EXPECT_EQ(still([](Judged& j) { j.job.stop_ns = 1; }), "");
}

TEST(JobVerdict, WhoReceivedNothingInItsWindowThoughFramesWereSentToItFails) {
  const auto deaf = [](auto change, bool has_faults = false) {
    Judged judged;
    judged.plan.options.rw = Role::rx;
    judged.result.address = "unix:/a";
    judged.result.rx.seconds = 2;
    judged.result.flows[0].received = 0;
    judged.result.flows[0].lost = 10;
    change(judged);
    judge(judged.job, judged.result, has_faults);
    return judged.result.errors.empty() ? "" : judged.result.errors.front();
  };
  const auto nothing = [](Judged&) {};
  EXPECT_EQ(
      deaf(nothing),
      "received none of the 10 frames that were sent to it in its measured window of 2 s (did "
      "they reach unix:/a? the causes say what held it back)");
  EXPECT_NE(deaf([](Judged& j) { j.plan.options.rw = Role::pingpong; }), "");
  EXPECT_EQ(deaf([](Judged& j) {
              j.plan.options.rw = Role::pingpong;
              j.plan.options.other_end_elsewhere = true;
              j.plan.options.hostname = "02:00:00:00:00:07";
            }),
            "received no reply to the 10 requests of its measured window of 2 s (did they reach "
            "02:00:00:00:00:07, and the replies unix:/a?)");
  EXPECT_EQ(deaf([](Judged& j) { j.result.flows[0].sent = j.result.flows[0].lost = 1; }),
            "did not receive the 1 frame that was sent to it in its measured window of 2 s (did "
            "it reach unix:/a? the causes say what held it back)");
  EXPECT_EQ(deaf([](Judged& j) {
              j.plan.options.rw = Role::pingpong;
              j.plan.options.other_end_elsewhere = true;
              j.result.flows[0].sent = j.result.flows[0].lost = 1;
            }).find("received no reply to the 1 request of its measured window of 2 s "),
            0U);
  EXPECT_EQ(deaf(nothing, true), "") << "it was asked for";
  EXPECT_EQ(deaf([](Judged& j) { j.plan.options.rw = Role::tx; }), "");
  EXPECT_EQ(deaf([](Judged& j) { j.result.rx.frames = 1; }), "");
  EXPECT_EQ(deaf([](Judged& j) { j.result.rx.seconds = 0; }), "");
  EXPECT_EQ(deaf([](Judged& j) { j.result.rx.of_program = true; }), "");
  EXPECT_EQ(deaf([](Judged& j) { j.plan.options.background = true; }), "");
  EXPECT_EQ(deaf([](Judged& j) { j.job.stop_ns = 1; }), "");
  for (auto FlowResult::* const fate :
       {&FlowResult::received, &FlowResult::corrupt, &FlowResult::truncated, &FlowResult::late}) {
    EXPECT_EQ(deaf([&](Judged& j) {
                j.result.flows[0].lost = 9;
                j.result.flows[0].*fate = 1;
              }),
              "")
        << "something came";
  }
  EXPECT_EQ(deaf([](Judged& j) { j.result.flows[0].sent = j.result.flows[0].lost = 0; }), "");
}

TEST(JobVerdict, WhoNeverStartedHasNotPassed) {
  Judged judged;
  judged.job.never_started = true;
  judge(judged.job, judged.result);
  EXPECT_FALSE(judged.result.passed);
}

/// A sender of ten frames and their receiver, which has got them all, as their processes left them.
struct LeftBehind {
  std::vector<PlannedJob> plan = std::vector<PlannedJob>(2);
  std::unique_ptr<RunMemory> memory = RunMemory::create(2).value();
  std::vector<ControlledJob> jobs;

  LeftBehind() {
    plan[0].options.name = "a";
    plan[0].options.rw = Role::tx;
    plan[0].to = 1;
    plan[1].options.name = "b";
    plan[1].options.rw = Role::rx;
    for (std::size_t i = 0; i < plan.size(); ++i) {
      jobs.push_back({.plan = plan[i], .block = &memory->job(i), .flow = &memory->flow(i)});
      jobs[i].phase = ControlledJob::Phase::over;
      jobs[i].block->state = JobState::exited;
    }
    jobs[1].senders = {0};
    jobs[0].block->all_tx_frames.set(10);
    jobs[1].block->all_rx_frames.set(10);
    jobs[0].flow->all_sent.set(10);
    arrive(10);
    jobs[0].flow->complete = true;
  }
  void arrive(std::uint64_t frames) {
    jobs[0].flow->received.set(frames);
    jobs[0].flow->all_judged.set(frames);
  }
  RunResult gathered() {
    RunResult result;
    gather(jobs, result);
    return result;
  }
};

TEST(JobVerdict, AReceiverIsNotToBlameForFramesThatAKilledSenderCouldNotCount) {
  LeftBehind left;
  left.jobs[0].block->state = JobState::running;
  left.jobs[0].fail("was killed by signal 9");
  left.arrive(11);
  const RunResult result = left.gathered();
  EXPECT_EQ(result.jobs[1].errors, std::vector<std::string>{});
  EXPECT_TRUE(result.jobs[1].passed);
  const FlowResult& flow = result.jobs[1].flows.at(0);
  EXPECT_EQ(flow.sent, 11U) << "what came was sent";
  EXPECT_EQ(flow.received, 11U);
  EXPECT_EQ(flow.cancelled, 0U);
}

TEST(JobVerdict, MoreFramesThanASenderHasCountedToItsEndAreAnError) {
  LeftBehind left;
  EXPECT_TRUE(left.gathered().jobs[1].passed);
  left.arrive(11);
  const RunResult result = left.gathered();
  EXPECT_EQ(result.jobs[1].errors,
            std::vector<std::string>{"more frames of \"a\" were received than it sent: 11 of 10"});
  EXPECT_EQ(result.jobs[1].flows.at(0).sent, 10U);
}

}  // namespace
}  // namespace shmif::perf
