// What becomes of the counts of jobs and of what is said of them: counts side by side, links with
// faults, kernels that drop frames; and the memory that it is gathered from.

#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/perf/control/gather_rig.hpp"

namespace shmif::perf::gathering {
namespace {

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
  Left left({Role::txrx});
  left.block(0).all_foreign.set(7);
  left.block(0).wire_foreign.set(20);
  left.block(0).wire.set({.tx_frames = 1, .dropped_frames = 5});
  left.block(0).kernel_tx_drops.set(3);
  EXPECT_EQ(left.gathered().jobs[0].counts.wire.dropped_frames, 5U) << "one of two is not told";
  left.block(0).kernel_rx_drops.set(8);
  const CountsResult counts = left.gathered().jobs[0].counts;
  EXPECT_EQ(counts.wire.dropped_frames, 16U);
  EXPECT_EQ(counts.receiver_foreign, 27U);
  EXPECT_EQ(counts.receiver_others, 7U);
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
  EXPECT_EQ(shown(0), (Texts{"1 0tx", "2 0rx", "3 0verify", "4 0overrun", "5 0lock"}));
  EXPECT_EQ(shown(1).at(0), "0 ");
  EXPECT_EQ(shown(2).at(1) + shown(2).at(2), "7 0rx8 0verify");
  const auto says = [&](std::size_t job, std::size_t error, const char* word) {
    EXPECT_NE(shown(job).at(error).find(word), std::string::npos) << shown(job).at(error);
  };
  says(1, 1, "does not receive");
  says(1, 4, "only a bus");
  says(2, 0, "does not send");
  says(2, 3, "bus_pause");
  says(3, 2, "verify=0");
  says(4, 0, "did not start");
  says(5, 0, "a program");
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

}  // namespace
}  // namespace shmif::perf::gathering
