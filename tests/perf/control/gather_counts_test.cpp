// What becomes of the counts of jobs and of what is said of them: counts side by side, links with
// faults, kernels that drop frames; and the memory that it is gathered from.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/perf/control/gather_rig.hpp"

namespace shmif::perf::gathering {
namespace {

using Words = std::vector<std::string>;

// ---- Counts side by side ----

/// Whether the counts of a job agree that has sent 100 and received 200 frames.
std::optional<bool> agree(const std::function<void(JobBlock&)>& change) {
  Left left({Role::txrx});
  left.block(0).all_tx_frames.set(100);
  left.block(0).all_rx_frames.set(200);
  change(left.block(0));
  return left.gathered().jobs[0].counts.agree;
}

TEST(GatheredCounts, AgreeIfBothDirectionsDo) {
  EXPECT_EQ(agree([](JobBlock&) {}), std::nullopt) << "the medium counts nothing";
  struct Case {
    std::uint64_t tx, rx;
    bool agree;
  };
  for (const Case& c : {Case{100, 200, true},
                        {99, 200, false},
                        {101, 200, false},
                        {100, 199, false},
                        {100, 201, false}}) {
    EXPECT_EQ(agree([&](JobBlock& b) { b.wire.set({.tx_frames = c.tx, .rx_frames = c.rx}); }),
              c.agree)
        << c.tx << ' ' << c.rx;
  }
  EXPECT_EQ(agree([](JobBlock& b) { b.wire.set({.rx_frames = 200}); }), true);
  EXPECT_EQ(agree([](JobBlock& b) { b.wire.set({.tx_frames = 99}); }), false);
  EXPECT_EQ(agree([](JobBlock& b) {
              b.wire.set({.tx_frames = 100, .rx_frames = 200, .lost_is_lower_bound = true});
            }),
            std::nullopt)
      << "nobody knows how many frames were lost";
}

TEST(GatheredCounts, OfALinkWithFaultsAreComparedBehindIt) {
  const auto faults = [](std::uint64_t frames) {
    FaultsMade made;
    made.frames = frames;
    made.duplicated = 30;
    made.lost = 11;
    made.queue_full = 5;
    made.under_way = 2;
    made.reordered = made.corrupted = made.truncated = 50;  // which change no number
    return made;
  };
  for (const std::uint64_t off : {0U, 1U}) {
    EXPECT_EQ(agree([&](JobBlock& b) {
                b.faults_sent = faults(100);
                b.has_faults_sent = true;
                b.wire.set({.tx_frames = 100 + 30 - 11 - 5 - 2 + off});
              }),
              off == 0);
    EXPECT_EQ(agree([&](JobBlock& b) {
                b.faults_received = faults(188);
                b.has_faults_received = true;
                b.wire.set({.rx_frames = 188 - off});  // of which 200 came
              }),
              off == 0);
  }
}

TEST(GatheredCounts, OfAHostMayLackWhatItsKernelDropped) {
  const auto host = [](std::uint64_t tx, std::uint64_t rx) {
    return agree([&](JobBlock& b) {
      b.wire.set({.tx_frames = tx, .rx_frames = rx});
      b.kernel_tx_drops.set(3);
      b.kernel_rx_drops.set(8);
    });
  };
  EXPECT_EQ(host(100, 200), true);
  EXPECT_EQ(host(97, 208), true);
  EXPECT_EQ(host(96, 208), false);
  EXPECT_EQ(host(97, 209), false);
  EXPECT_EQ(host(101, 200), false) << "none is made";
  EXPECT_EQ(host(100, 199), false);
}

TEST(GatheredCounts, OfAHostHaveTheDropsOfItsKernelAndTheFramesOfOthers) {
  const auto counts = [](bool datagrams, bool drops) {
    Left left({Role::txrx});
    left.block(0).all_foreign.set(7);
    left.block(0).wire_foreign.set(20);
    if (datagrams) left.block(0).wire.set({.tx_frames = 1});
    if (drops) {
      left.block(0).kernel_tx_drops.set(3);
      left.block(0).kernel_rx_drops.set(8);
    }
    return left.gathered().jobs[0].counts;
  };
  EXPECT_EQ(counts(true, true).wire.dropped_frames, 11U);
  EXPECT_EQ(counts(true, true).receiver_foreign, 27U);
  EXPECT_EQ(counts(true, true).receiver_others, 7U);
  EXPECT_EQ(counts(false, true).receiver_foreign, 7U) << "all segments of TCP are the kernel's";
  EXPECT_EQ(counts(true, false).receiver_foreign, 7U);
  EXPECT_EQ(counts(true, false).wire.dropped_frames, std::nullopt);
  Left both({Role::txrx});
  both.block(0).wire.set({.dropped_frames = 5});
  both.block(0).kernel_tx_drops.set(3);
  EXPECT_EQ(both.gathered().jobs[0].counts.wire.dropped_frames, 5U) << "one of two is not told";
  both.block(0).kernel_rx_drops.set(8);
  EXPECT_EQ(both.gathered().jobs[0].counts.wire.dropped_frames, 16U);
}

TEST(GatheredCounts, OverrunsAreThoseThatTheMediumTellsOf) {
  struct Case {
    EngineKind engine;
    Role role;
    std::optional<std::uint64_t> overruns, frames;
  };
  for (const Case& c : {Case{EngineKind::bus, Role::rx, 5, 50},
                        {EngineKind::bus, Role::echo, 5, 50},
                        {EngineKind::bus, Role::tx, std::nullopt, std::nullopt},
                        {EngineKind::unix_pair, Role::rx, std::nullopt, std::nullopt},
                        {EngineKind::host, Role::rx, 6, 60}}) {
    Left left({c.role});
    left.plan[0].options.engine = c.engine;
    left.block(0).received[Period::ramp].overruns.set(1);
    left.block(0).received[Period::window].overruns.set(5);
    left.block(0).received[Period::window].overrun_frames.set(50);
    left.block(0).port_overruns.set(6);
    left.block(0).port_lost_frames.set(60);
    const JobResult job = left.gathered().jobs[0];
    EXPECT_EQ(job.overruns, c.overruns);
    EXPECT_EQ(job.overrun_frames, c.frames);
  }
}

// ---- Jobs, links and messages ----

TEST(GatheredJobs, AreWhatTheirPlansSay) {
  Left left({Role::tx, Role::txrx});
  left.plan[0].peer_of = "other";
  left.plan[0].group = "one";
  left.plan[1].options.thread = true;
  left.plan[1].options.exec = {"true"};
  left.plan[1].options.engine = EngineKind::host;
  left.plan[1].options.percentile_list = {12, 34};
  left.plan[0].options.given = {{"bs", "70"}, {"rate", "1m"}};
  left.jobs[1].never_started = true;
  left.block(1).state = JobState::created;
  left.block(1).start_skew_ns = 0;
  left.jobs[1].errors = {"first", "second"};
  const RunResult result = left.gathered();
  const JobResult& a = result.jobs[0];
  const JobResult& b = result.jobs[1];
  EXPECT_EQ(a.peer_of, "other");
  EXPECT_EQ(b.peer_of, "");
  EXPECT_EQ(a.role, Role::tx);
  EXPECT_EQ(b.role, Role::txrx);
  EXPECT_EQ(b.engine, EngineKind::host);
  EXPECT_EQ(a.thread, false);
  EXPECT_EQ(b.thread, true);
  EXPECT_EQ(a.options, (std::map<std::string, std::string>{{"bs", "70"}, {"rate", "1m"}}));
  EXPECT_EQ(b.percentile_list, (std::vector<double>{12, 34}));
  EXPECT_EQ(a.state, JobState::reaped);
  EXPECT_EQ(b.state, JobState::created);
  EXPECT_FALSE(a.tx.of_program || a.rx.of_program);
  EXPECT_TRUE(b.tx.of_program && b.rx.of_program);
  EXPECT_FALSE(a.cpu || a.tcp || a.exit_status || a.exit_signal);
  EXPECT_EQ(a.start_skew_ns, std::nullopt);
  EXPECT_EQ(b.start_skew_ns, 0U);
  EXPECT_TRUE(a.passed);
  EXPECT_FALSE(b.passed);
  EXPECT_EQ(result.failures, (Words{"job \"b\": first", "job \"b\": second"}));
  ASSERT_EQ(result.groups.size(), 2U);
  EXPECT_EQ(result.groups[0].start_skew_ns, std::nullopt);
  EXPECT_EQ(result.groups[1].start_skew_ns, 0U);
  EXPECT_FALSE(result.groups[0].tx.of_program);
  EXPECT_TRUE(result.groups[1].rx.of_program);
}

TEST(GatheredJobs, EachWarningIsNamedAndEachLinkHasItsOwnFaults) {
  Left left({Role::tx, Role::txrx, Role::rx});
  for (std::size_t i = 0; i < 3; ++i) {
    left.block(i).address.set("unix:" + std::to_string(i));
    left.plan[i].options.fault.loss = 0.125;
    left.plan[i].options.fault_rx.duplicate = 0.25;
  }
  left.block(1).warning.set("slow");
  left.block(2).warning.set("old");
  left.block(0).has_faults_received = true;
  left.block(2).has_faults_sent = true;
  left.block(0).faults_received.corrupted = 3;
  left.block(2).faults_sent.corrupted = 4;
  const RunResult result = left.gathered();
  EXPECT_EQ(result.warnings, (Words{"b: slow", "c: old"}));
  ASSERT_EQ(result.links.size(), 2U);
  const LinkResult& received = result.links[0];
  EXPECT_EQ(received.job + ' ' + received.wire + ' ' + received.direction, "a unix:0 received");
  EXPECT_EQ(received.options, to_string(left.plan[0].options.fault_rx));
  EXPECT_EQ(received.faults.corrupted, 3U);
  const LinkResult& sent = result.links[1];
  EXPECT_EQ(sent.job + ' ' + sent.wire + ' ' + sent.direction, "c unix:2 sent");
  EXPECT_EQ(sent.options, to_string(left.plan[2].options.fault));
  EXPECT_EQ(sent.faults.corrupted, 4U);
  EXPECT_NE(sent.options, received.options);
}

TEST(GatheredJobs, TheFirstErrorOfAGroupIsThatOfItsFirstJobThatHadOne) {
  Left left({Role::txrx, Role::txrx, Role::txrx});
  left.block(1).first_tx_error.set("second");
  left.block(2).first_tx_error.set("third");
  left.block(2).first_rx_error.set("came");
  const GroupResult group = left.gathered().groups.at(0);
  EXPECT_EQ(group.tx.first_error, "second");
  EXPECT_EQ(group.rx.first_error, "came");
}

TEST(GatheredJobs, EachClassOfErrorsHasItsCountItsFirstOrAReason) {
  Left left({Role::txrx, Role::tx, Role::rx, Role::rx, Role::tx, Role::tx});
  std::uint64_t n = 0;
  for (JobBlock* const block : {&left.block(0), &left.block(2)}) {
    for (const ErrorClass error : kErrorClasses) {
      const std::string name = word_of(error);
      block->note_error(error, Period::ramp, "early " + name);
      for (std::uint64_t i = 0; i <= n; ++i) {
        block->note_error(error, Period::window, std::to_string(i) + name);
      }
      ++n;
    }
  }
  left.plan[0].options.engine = EngineKind::bus;
  left.block(0).overruns_are_errors = true;
  left.plan[3].options.verify = false;
  left.jobs[4].never_started = true;
  left.plan[5].options.exec = {"true"};
  const RunResult result = left.gathered();
  const auto shown = [&](std::size_t job) {
    std::vector<std::string> texts;
    for (const ErrorClass error : kErrorClasses) {
      const ClassErrors& of = result.jobs[job].errors_by_class[static_cast<std::size_t>(error)];
      EXPECT_NE(of.count.has_value(), !of.reason.empty());
      texts.push_back((of.count ? std::to_string(*of.count) + ' ' + of.first : of.reason));
    }
    return texts;
  };
  using Texts = std::vector<std::string>;
  const std::string no_send = "this job does not send";
  const std::string no_receive = "this job does not receive";
  const std::string no_pause =
      "an overrun is an error only on a bus that pauses its senders (bus_pause)";
  EXPECT_EQ(shown(0), (Texts{"1 0tx", "2 0rx", "3 0verify", "4 0overrun", "5 0lock"}));
  EXPECT_EQ(shown(1), (Texts{"0 ", no_receive, no_receive, no_receive, "only a bus has a lock"}));
  EXPECT_EQ(shown(2), (Texts{no_send, "7 0rx", "8 0verify", no_pause, no_send}));
  EXPECT_EQ(shown(3)[2], "this job does not verify (verify=0)");
  EXPECT_EQ(shown(4), Texts(5, "this job did not start"));
  EXPECT_EQ(shown(5), Texts(5, "a program reports its own errors"));
}

TEST(GatheredJobs, AGroupBeganWithTheLatestOfItsJobs) {
  Left left({Role::tx, Role::tx, Role::tx});
  left.block(0).start_skew_ns = 30;
  left.block(1).start_skew_ns = 50;
  left.block(2).start_skew_ns = 40;
  EXPECT_EQ(left.gathered().groups.at(0).start_skew_ns, 50U);
}

TEST(GatheredJobs, OfOneThatHasNotEndedNoHistogramIsRead) {
  Left left({Role::tx, Role::tx});
  for (const std::size_t i : {0U, 1U}) {
    left.block(i).latency.record(77);
    left.block(i).service.record(78);
    left.block(i).spacing_error.record(79);
  }
  left.jobs[0].runner = JobRunner::start(false, [] {
                          for (;;) ::pause();
                          return 0;
                        }).value();
  const RunResult result = left.gathered();
  EXPECT_EQ(result.jobs[0].latency->count(), 0U);
  EXPECT_EQ(result.jobs[0].service->count(), 0U);
  EXPECT_EQ(result.jobs[0].spacing_error->count(), 0U);
  EXPECT_EQ(result.jobs[0].pid, left.jobs[0].runner->pid());
  EXPECT_EQ(result.jobs[1].latency->max(), 77U);
  EXPECT_EQ(result.jobs[1].service->max(), 78U);
  EXPECT_EQ(result.jobs[1].spacing_error->max(), 79U);
  EXPECT_EQ(result.jobs[1].pid, 0);
}

// ---- The memory ----

TEST(RunMemoryOfJobs, EachWithALogHasHistogramsOfItsOwn) {
  const std::array<std::size_t, 2> with{0, 2};
  const auto memory = RunMemory::create(3, with).value();
  HistogramBlock* const first = memory->job(0).histograms;
  HistogramBlock* const second = memory->job(2).histograms;
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(memory->job(1).histograms, nullptr);
  EXPECT_GE(static_cast<std::size_t>(std::max(first, second) - std::min(first, second)),
            kHistogramBlocks);
  first[kHistogramBlocks - 1][kHistogramBins - 1] = 3;
  second[kHistogramBlocks - 1][kHistogramBins - 1] = 4;
  second[0][0] = 5;
  memory->echo(2).replies[Period::window].set(6);
  EXPECT_EQ(first[kHistogramBlocks - 1][kHistogramBins - 1], 3U);
  EXPECT_EQ(second[0][0], 5U);
}

TEST(RunMemoryOfJobs, ATextIsWrittenOnceAndAsFarAsItFits) {
  const auto memory = RunMemory::create(1).value();
  SharedText<128>& text = memory->job(0).address;
  text.set("");
  EXPECT_TRUE(text.empty());
  text.set(std::string(127, 'a') + "bc");
  EXPECT_EQ(text.get(), std::string(127, 'a') + 'b');
  text.set("again");
  EXPECT_EQ(text.get().size(), 128U);
}

TEST(RunMemoryOfJobs, AnErrorOfTheRampIsCountedThereAndIsNotTheFirstOfTheWindow) {
  const auto memory = RunMemory::create(1).value();
  JobBlock& job = memory->job(0);
  const std::error_code early(EIO, std::generic_category());
  const std::error_code later(EPERM, std::generic_category());
  job.note_tx_error(Period::ramp, early);
  job.note_rx_error(Period::ramp, early);
  EXPECT_TRUE(job.first_tx_error.empty());
  EXPECT_TRUE(job.first_rx_error.empty());
  job.note_tx_error(Period::window, later);
  job.note_rx_error(Period::window, later);
  job.note_rx_error(Period::window, early);
  EXPECT_EQ(job.first_tx_error.get(), later.message());
  EXPECT_EQ(job.first_rx_error.get(), later.message());
  EXPECT_EQ(job.sent[Period::ramp][&TrafficResult::errors].get(), 1U);
  EXPECT_EQ(job.sent[Period::window][&TrafficResult::errors].get(), 1U);
  EXPECT_EQ(job.received[Period::ramp][&TrafficResult::errors].get(), 1U);
  EXPECT_EQ(job.received[Period::window][&TrafficResult::errors].get(), 2U);
}

}  // namespace
}  // namespace shmif::perf::gathering
