// Which results fail a job. Of each message two words are looked for: what happened, and what to
// look at.

#include <gtest/gtest.h>

#include <array>
#include <chrono>

#include "tests/perf/control/gather_rig.hpp"

namespace shmif::perf {
namespace {

/// A job that has sent and received ten frames, and what is judged of it.
struct Judged {
  PlannedJob plan;
  ControlledJob job{.plan = plan};
  JobResult result;
  bool has_faults = false;

  Judged() {
    result.counts.generator_tx = result.counts.receiver_rx = 10;
    FlowResult& flow = result.flows.emplace_back();
    flow.from = "a";
    flow.sent = flow.received = 10;
  }
  JobOptions& options() { return plan.options; }
  FlowResult& flow() { return result.flows.at(0); }
};

struct JudgedCase {
  const char* what;
  void (*change)(Judged&);
  std::array<const char*, 2> words;  ///< none: it has passed
};

/// `begin` makes of a job the one that each case changes.
void expect_verdicts(void (*begin)(Judged&), const std::vector<JudgedCase>& verdicts) {
  for (const JudgedCase& each : verdicts) {
    SCOPED_TRACE(each.what);
    Judged judged;
    begin(judged);
    each.change(judged);
    judge(judged.job, judged.result, judged.has_faults);
    const bool fails = each.words[0] != nullptr;
    EXPECT_EQ(judged.result.passed, !fails);
    ASSERT_EQ(judged.result.errors.empty(), !fails);
    if (!fails) continue;
    for (const char* const word : each.words) {
      EXPECT_NE(judged.result.errors.front().find(word), std::string::npos)
          << judged.result.errors.front() << " lacks " << word;
    }
  }
}

void set_wire(Judged& j, std::optional<std::uint64_t> tx, std::optional<std::uint64_t> rx) {
  j.result.counts.wire.tx_frames = tx;
  j.result.counts.wire.rx_frames = rx;
  j.result.counts.agree = false;
}

TEST(JobVerdict, CountsThatDifferFramesThatDoNotAddUpAndABusThatWasCorruptFailTheJob) {
  expect_verdicts(
      [](Judged&) {},
      {{"sound", [](Judged&) {}, {}},
       {"lossy: a result, no failure",
        [](Judged& j) {
          j.flow().received = 4;
          j.flow().lost = 3;
          j.flow().late = 2;
          j.flow().cancelled = 1;
        },
        {}},
       {"a bus that was never corrupt", [](Judged& j) { j.result.counts.wire.corrupt = 0; }, {}},
       {"a corrupt bus",
        [](Judged& j) {
          j.result.address = "bus:/b";
          j.result.counts.wire.corrupt = 2;
        },
        {"bus:/b corrupt 2 times", "leave out 'bus'"}},
       {"sent", [](Judged& j) { set_wire(j, 9, 10); }, {"sent 10", "counted 9"}},
       {"received", [](Judged& j) { set_wire(j, 10, 11); }, {"received 10", "counted 11"}},
       {"received alone", [](Judged& j) { set_wire(j, {}, 7); }, {"received 10", "counted 7"}},
       {"one too few", [](Judged& j) { j.flow().received = 9; }, {"\"a\"", "accounted for 9"}},
       {"one too many", [](Judged& j) { j.flow().received = 11; }, {"\"a\"", "11 of 10"}},
       {"one twice", [](Judged& j) { j.flow().cancelled = 1; }, {"\"a\"", "accounted for 11"}},
       {"not checked",
        [](Judged& j) { j.flow().verification_complete = false; },
        {"verification", "\"a\" is incomplete"}},
       {"killed, which is said elsewhere",
        [](Judged& j) {
          j.flow().verification_complete = false;
          j.result.exit_signal = 9;
        },
        {}}});
  Judged judged;
  judged.job.never_started = true;
  judge(judged.job, judged.result);
  EXPECT_FALSE(judged.result.passed) << "who never started has not passed";
}

/// A receiver without frames, and the flow that was lost on the way to it.
void unheard(Judged& j, std::uint64_t sent) {
  j.options().rw = Role::rx;
  j.result.address = "unix:/a";
  FlowResult& flow = j.result.flows.emplace_back();
  flow.sent = flow.lost = sent;
}

TEST(JobVerdict, WhoMovedNothingFailsUnlessItWasStopped) {
  constexpr const char* kNone = "moved no frame";
  expect_verdicts(
      [](Judged& j) { j.result = {}; },
      {{"by its limits", [](Judged&) {}, {kNone, "number_ios"}},
       {"by its rate in frames", [](Judged& j) { j.options().rate_fps.tx = 1; }, {kNone, "rate"}},
       {"by its rate in bits", [](Judged& j) { j.options().rate_bps.tx = 1; }, {kNone, "rate"}},
       {"refused", [](Judged& j) { j.result.tx.refused_frames = 1; }, {kNone, "is it up?"}},
       {"frames of others",
        [](Judged& j) {
          j.options().rw = Role::rx;
          j.result.rx.foreign_frames = 3;
        },
        {kNone, "other senders"}},
       {"frames of earlier runs",
        [](Judged& j) {
          j.options().rw = Role::echo;
          j.result.rx.foreign_frames = 3;
          j.result.rx.stale_frames = 1;
        },
        {kNone, "verify_only"}},
       {"lost on the way", [](Judged& j) { unheard(j, 7); }, {kNone, "reach unix:/a?"}},
       {"nothing sent", [](Judged& j) { unheard(j, 0); }, {kNone, "sent nothing"}},
       {"one of two has sent",
        [](Judged& j) {
          unheard(j, 0);
          unheard(j, 7);
        },
        {kNone, "reach unix:/a?"}},
       {"of a record, whose senders are of another run",
        [](Judged& j) {
          unheard(j, 0);
          j.options().verify_only = true;
        },
        {kNone, "reach unix:/a?"}},
       {"stopped", [](Judged& j) { j.job.stop_ns = 1; }, {}},
       {"background", [](Judged& j) { j.options().background = true; }, {}}});
}

TEST(JobVerdict, WhoWasToSendInItsWindowAndStoodStillFails) {
  expect_verdicts(
      [](Judged& j) {
        j.options().runtime = std::chrono::seconds(2);
        j.result.tx.seconds = 2;
        j.result.tx.paced = true;
        j.result.tx.offered_frames = 7;
      },
      {{"paced", [](Judged&) {}, {"none of the 7 frames", "causes"}},
       {"refused", [](Judged& j) { j.result.tx.refused_frames = 1; }, {"7 frames", "is it up?"}},
       {"flat out", [](Judged& j) { j.result.tx.paced = false; }, {"sent no frame", "causes"}},
       {"flat out, to another limit than its time",
        [](Judged& j) {
          j.result.tx.paced = false;
          j.options().runtime = std::chrono::seconds(20);
        },
        {}},
       {"it sent", [](Judged& j) { j.result.tx.frames = 1; }, {}},
       {"none was due", [](Judged& j) { j.result.tx.offered_frames = 0; }, {}},
       {"it ended in its ramp", [](Judged& j) { j.result.tx.seconds = 0; }, {}},
       {"a program", [](Judged& j) { j.result.tx.of_program = true; }, {}},
       {"a receiver", [](Judged& j) { j.options().rw = Role::rx; }, {}},
       {"it thinks", [](Judged& j) { j.options().thinktime = std::chrono::seconds(9); }, {}},
       {"it has a weight", [](Judged& j) { j.options().flow = 1; }, {}},
       {"background", [](Judged& j) { j.options().background = true; }, {}},
       {"stopped", [](Judged& j) { j.job.stop_ns = 1; }, {}}});
}

TEST(JobVerdict, WhoReceivedNothingInItsWindowThoughFramesWereSentToItFails) {
  const auto asks_far = [](Judged& j) {
    j.options().rw = Role::pingpong;
    j.options().other_end_elsewhere = true;
    j.options().hostname = "02:00:00:00:00:07";
  };
  expect_verdicts(
      [](Judged& j) {
        j.options().rw = Role::rx;
        j.result.address = "unix:/a";
        j.result.rx.seconds = 2;
        j.flow().received = 0;
        j.flow().lost = 10;
      },
      {{"a receiver", [](Judged&) {}, {"none of the 10 frames", "unix:/a?"}},
       {"who asks", [](Judged& j) { j.options().rw = Role::pingpong; }, {"10 frames", "causes"}},
       {"who asks far away", asks_far, {"no reply to the 10 requests", "02:00:00:00:00:07"}},
       {"faults that were asked for", [](Judged& j) { j.has_faults = true; }, {}},
       {"a sender", [](Judged& j) { j.options().rw = Role::tx; }, {}},
       {"it received", [](Judged& j) { j.result.rx.frames = 1; }, {}},
       {"it ended in its ramp", [](Judged& j) { j.result.rx.seconds = 0; }, {}},
       {"a program", [](Judged& j) { j.result.rx.of_program = true; }, {}},
       {"background", [](Judged& j) { j.options().background = true; }, {}},
       {"stopped", [](Judged& j) { j.job.stop_ns = 1; }, {}},
       {"one came late",
        [](Judged& j) {
          j.flow().lost = 9;
          j.flow().late = 1;
        },
        {}},
       {"nothing was sent", [](Judged& j) { j.flow().sent = j.flow().lost = 0; }, {}}});
}

TEST(JobVerdict, MoreFramesThanASenderCountedFailItsReceiverUnlessTheSenderWasKilled) {
  for (const bool killed : {false, true}) {
    gathering::Left left({Role::tx, Role::rx});
    left.connect(0, 1);
    left.flow(0).all_sent.set(10);
    left.flow(0).received.set(11);
    left.flow(0).all_judged.set(11);
    left.flow(0).complete = true;
    if (killed) {
      left.block(0).state = JobState::running;
      left.jobs[0].fail("was killed by signal 9");
    }
    const JobResult receiver = left.gathered().jobs.at(1);
    EXPECT_EQ(receiver.passed, killed);
    EXPECT_EQ(receiver.flows.at(0).sent, killed ? 11U : 10U) << "what came was sent";
    EXPECT_EQ(receiver.flows.at(0).received, 11U);
    EXPECT_EQ(receiver.flows.at(0).cancelled, 0U);
  }
}

}  // namespace
}  // namespace shmif::perf
