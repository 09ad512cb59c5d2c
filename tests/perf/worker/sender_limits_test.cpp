// Where a sender ends, and for how long its pace let it send: by frames, by bytes, by its time, by
// those that it shares a flow with.

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "tests/perf/worker/sender_rig.hpp"

namespace shmif::perf::sender_counts {
namespace {

/// How many frames of 100, 101, 102... bytes a job with these options sends, of 20.
std::uint64_t sent_with(const std::function<void(JobOptions&)>& change) {
  Sender sender(std::vector<std::uint64_t>(20, 1100));
  change(sender.options);
  Generator& generator = sender.begin(70);
  for (int i = 0; i < 100 && !generator.done(); ++i) (void)generator.step(1200);
  if (!generator.done()) generator.stop(1300);
  EXPECT_EQ(generator.error(), "");
  EXPECT_EQ(sender.end.sent.size(), sender.job.all_tx_frames.get());
  return sender.end.sent.size();
}

TEST(SenderLimits, AreOfFramesOfBytesInALoopAndOfBytesInAll) {
  using O = JobOptions;
  EXPECT_EQ(sent_with([](O&) {}), 20U);
  EXPECT_EQ(sent_with([](O& o) { o.number_ios = 1; }), 1U);
  EXPECT_EQ(sent_with([](O& o) { o.number_ios = 5; }), 5U) << "more than a batch";
  // Three frames have 303 bytes.
  EXPECT_EQ(sent_with([](O& o) { o.size_bytes = 99; }), 0U);
  EXPECT_EQ(sent_with([](O& o) { o.size_bytes = 302; }), 2U);
  EXPECT_EQ(sent_with([](O& o) { o.size_bytes = 303; }), 3U);
  EXPECT_EQ(sent_with([](O& o) { o.size_bytes = 405; }), 3U);
  EXPECT_EQ(sent_with([](O& o) { o.size_bytes = 101, o.loops = 3; }), 3U);
  EXPECT_EQ(sent_with([](O& o) { o.size_bytes = 303, o.loops = 0; }), 3U);
  EXPECT_EQ(sent_with([](O& o) { o.io_limit_bytes = 303; }), 3U);
  EXPECT_EQ(sent_with([](O& o) { o.io_limit_bytes = 303, o.loops = 3; }), 3U) << "in all loops";
  EXPECT_EQ(sent_with([](O& o) { o.io_limit_bytes = 303, o.size_bytes = 1000; }), 3U);
  EXPECT_EQ(sent_with([](O& o) { o.io_limit_bytes = 1000, o.size_bytes = 303; }), 3U);
  EXPECT_EQ(sent_with([](O& o) { o.number_ios = 2, o.size_bytes = 303; }), 2U);
  EXPECT_EQ(sent_with([](O& o) { o.number_ios = 4, o.size_bytes = 303; }), 3U);
  // With time_based, loops last as long as the time.
  EXPECT_EQ(sent_with([](O& o) { o.size_bytes = 303, o.time_based = true; }), 20U);
  EXPECT_EQ(
      sent_with([](O& o) { o.size_bytes = 101, o.io_limit_bytes = 303, o.time_based = true; }), 3U);
}

TEST(SenderLimits, WhatNoLimitAllowsWasNotOffered) {
  Sender sender({1100, 1200, 1300, 1400, 1500});
  sender.options.size_bytes = 303;
  sender.options.iodepth_batch = 3;
  Generator& generator = sender.begin();
  EXPECT_TRUE(sender.step(1450, 3));
  EXPECT_EQ(sender.job.offered_until_ns.get(), 1400U);
  EXPECT_TRUE(generator.done());
  EXPECT_EQ(of(sender.job.sent[Period::window]),
            (std::vector<std::uint64_t>{3, 303, 3, 303, 0, 0, 1, 0}));
  // The same where the frame that does not fit is found only when it is due.
  Sender late({1100, 1200, 1300, 1400, 1500});
  late.options.size_bytes = 304;
  Generator& other = late.begin();
  EXPECT_TRUE(late.step(1450, 3));
  EXPECT_TRUE(other.done());
  EXPECT_EQ(of(late.job.sent[Period::window]),
            (std::vector<std::uint64_t>{3, 303, 3, 303, 0, 0, 1, 0}));
  EXPECT_EQ(late.job.offered_until_ns.get(), 1400U) << "when it would have been due";
}

TEST(SenderLimits, WithAPaceTheLastFrameTakesItsTimeUntilTheNextWouldBeDue) {
  constexpr std::uint64_t kHour = 3'600'000'000'000;
  for (const bool paced : {true, false}) {
    const std::uint64_t begin = now_ns();
    Sender sender({begin + 100, begin + 200, begin + kHour});
    if (!paced) sender.options.rate_fps.tx = 0;
    sender.options.number_ios = 2;
    Generator& generator = sender.begin(0, std::nullopt, begin);
    EXPECT_TRUE(sender.step(begin + 300, 2));
    const std::uint64_t after = now_ns();
    EXPECT_TRUE(generator.done());
    const auto is_now = [&](std::uint64_t time) { return time >= begin && time <= after; };
    EXPECT_TRUE(is_now(sender.flow.window_end_ns)) << "nothing was sent later";
    if (paced) {
      EXPECT_EQ(sender.flow.rate_end_ns.get(), begin + kHour);
      EXPECT_EQ(sender.job.window_end_ns.load(), begin + kHour);
      EXPECT_EQ(sender.job.offered_until_ns.get(), begin + kHour);
    } else {
      EXPECT_TRUE(is_now(sender.flow.rate_end_ns.get()));
      EXPECT_TRUE(is_now(sender.job.window_end_ns));
      EXPECT_TRUE(is_now(sender.job.offered_until_ns.get()));
    }
  }
}

TEST(SenderLimits, TheRuntimeBeginsBehindTheRampAndItsEndIsNoMoreOfIt) {
  Sender sender({1100, 1100, 1499, 1500});
  sender.options.runtime = std::chrono::nanoseconds(400);
  sender.options.number_ios = 50;
  Generator& generator = sender.begin();
  EXPECT_EQ(generator.next_look_ns(1000), 1100U);
  EXPECT_TRUE(sender.step(1100, 2));
  EXPECT_TRUE(sender.step(1499, 1));
  EXPECT_EQ(generator.next_look_ns(1499), 1500U);
  EXPECT_FALSE(generator.step(1700));
  EXPECT_TRUE(generator.done());
  EXPECT_EQ(generator.next_look_ns(1700), FrameSource::kNever);
  for (const std::uint64_t end :
       {sender.flow.window_end_ns.load(), sender.flow.rate_end_ns.get(),
        sender.job.window_end_ns.load(), sender.job.offered_until_ns.get()}) {
    EXPECT_EQ(end, 1500U) << "though it was noticed later";
  }
  EXPECT_EQ(sender.job.sent[Period::window][&TrafficResult::frames].get(), 3U);
  generator.stop(1200);
  EXPECT_EQ(sender.job.window_end_ns.load(), 1500U) << "it has ended once";
}

TEST(SenderLimits, AStopBeforeItsBeginningOffersNothing) {
  Sender sender({1100, 1200}, {});
  Generator& generator = sender.begin();
  generator.stop(900);
  EXPECT_TRUE(generator.done());
  EXPECT_TRUE(sender.flow.tx_done);
  EXPECT_EQ(of(sender.job.sent[Period::window]), std::vector<std::uint64_t>(8));
  EXPECT_FALSE(generator.step(1500));
  EXPECT_TRUE(sender.end.sent.empty());
}

TEST(SenderLimits, OneThatGoesOnWhereAnEarlierRunEndedSharesFromItsOwnBeginning) {
  const auto memory = RunMemory::create(1).value();
  memory->job(0).start_ns = 1;
  Sender sender(std::vector<std::uint64_t>(100, 1100));
  sender.options.iodepth_batch = 32;
  Generator& generator =
      sender.begin(1'000'000, FlowShare(1, {{&memory->job(0), &memory->flow(0), 1}}));
  while (generator.step(1200)) {
  }
  EXPECT_EQ(sender.end.sent.size(), 64U) << "so many rounds ahead of one that sent nothing";
  EXPECT_EQ(generator.next_look_ns(1200), 1200U + 100'000) << "it looks again soon";
  memory->job(0).all_tx_frames.set(7);
  while (generator.step(1300)) {
  }
  EXPECT_EQ(sender.end.sent.size(), 71U);
  memory->flow(0).tx_done = true;
  while (generator.step(1400)) {
  }
  EXPECT_EQ(sender.end.sent.size(), 100U);
}

TEST(SenderLimits, NoTimesAreKeptWhereNoneAreWantedOrDue) {
  const auto times = [](const std::function<void(JobOptions&)>& change) {
    Sender sender({1100, 1200});
    change(sender.options);
    sender.begin();
    EXPECT_TRUE(sender.step(1300, 2));
    return sender.job.spacing_error.count();
  };
  EXPECT_EQ(times([](JobOptions&) {}), 2U);
  EXPECT_EQ(times([](JobOptions& o) { o.disable_lat = true; }), 0U);
  EXPECT_EQ(times([](JobOptions& o) { o.rate_fps = {}; }), 0U);
}

}  // namespace
}  // namespace shmif::perf::sender_counts
