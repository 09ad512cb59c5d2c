#include "perf/verify/verify_queue.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <set>
#include <thread>
#include <vector>

#include "perf/frame/frame_maker.hpp"
#include "perf/verify/flow_receiver.hpp"

namespace shmif::perf {

static void PrintTo(const VerifyQueue::Options& options, std::ostream* out) {
  *out << options.threads << "Threads" << options.backlog << "Frames" << options.group_bytes
       << "Bytes";
}

namespace {

constexpr std::uint64_t kForever = UINT64_MAX;

ProbeReading check(const FrameView& frame) {
  return read_probe(frame.bytes, probe_offset(frame.bytes));
}

/// What comes out of a queue.
struct Outcome {
  std::vector<CheckedFrame> frames;  // their bytes are gone
  VerifyQueue::Deliver deliver() {
    return [this](const CheckedFrame& frame) { frames.push_back(frame); };
  }
  std::size_t unverified() const {
    std::size_t count = 0;
    for (const CheckedFrame& frame : frames) count += frame.checked ? 0 : 1;
    return count;
  }
};

/// Blocks who comes until it is opened.
class Gate {
 public:
  void pass() {
    ++waiting_;
    open_.wait();
  }
  void open() { open_.count_down(); }
  int waiting() const { return waiting_; }

 private:
  std::latch open_{1};
  std::atomic<int> waiting_{0};
};

/// Frame `n`, every seventh of them damaged, every eleventh foreign.
void put(VerifyQueue& queue, FrameMaker& maker, std::uint64_t n) {
  const FrameView made = maker.make(n, 60 + n % 200, {.nonce = 1});
  std::vector<std::byte> bytes(made.bytes.begin(), made.bytes.end());
  if (n % 7 == 0) bytes.back() ^= std::byte{1};
  if (n % 11 == 0) bytes.assign(60, std::byte{0});
  FrameView frame{std::span<const std::byte>(bytes)};
  frame.number = n;
  queue.put(frame, 1000 + n);
}

Finding expected(std::uint64_t n) {
  if (n % 11 == 0) return Finding::foreign;
  return n % 7 == 0 ? Finding::corrupt : Finding::whole;
}

class VerifyQueues : public testing::TestWithParam<VerifyQueue::Options> {};

TEST_P(VerifyQueues, FindsOfEachFrameWhatIsInItInTheOrderOfArrival) {
  Outcome outcome;
  const auto queue = VerifyQueue::start(GetParam(), check, outcome.deliver()).value();
  FrameMaker maker({});
  constexpr std::uint64_t kFrames = 5000;
  for (std::uint64_t n = 0; n < kFrames; ++n) {
    put(*queue, maker, n);
    if (n % 37 == 0) queue->flush();
    ASSERT_EQ(queue->waiting() + outcome.frames.size(), n + 1);
  }
  EXPECT_EQ(queue->finish(kForever), 0U);
  EXPECT_EQ(queue->waiting(), 0U);
  ASSERT_EQ(outcome.frames.size(), kFrames);
  for (std::uint64_t n = 0; n < kFrames; ++n) {
    const CheckedFrame& frame = outcome.frames[n];
    ASSERT_EQ(frame.frame.number, n);
    ASSERT_EQ(frame.arrived_ns, 1000 + n);
    ASSERT_EQ(frame.reading.finding, expected(n)) << n;
    ASSERT_TRUE(frame.checked);
    if (expected(n) == Finding::whole) {
      ASSERT_EQ(frame.reading.probe.sequence, n);
      ASSERT_EQ(frame.frame.size(), 60 + n % 200);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Of, VerifyQueues,
    testing::Values(VerifyQueue::Options{}, VerifyQueue::Options{.backlog = 1},
                    VerifyQueue::Options{.backlog = 100},
                    VerifyQueue::Options{.backlog = 1'000'000},
                    VerifyQueue::Options{.backlog = 1'000'000, .group_bytes = 3000},
                    VerifyQueue::Options{.threads = 1}, VerifyQueue::Options{.threads = 3},
                    VerifyQueue::Options{.threads = 3, .backlog = 10},
                    VerifyQueue::Options{.threads = 2, .backlog = 3000}),
    testing::PrintToStringParamName());

TEST(VerifyQueue, TheBytesOfAFrameAreThereWhenItIsDelivered) {
  FrameMaker maker({});
  std::size_t as_made = 0;
  const auto queue = VerifyQueue::start({.threads = 2}, check, [&](const CheckedFrame& frame) {
                       as_made += maker.payload_is_as_made(frame.frame.bytes) ? 1 : 0;
                     }).value();
  for (std::uint64_t n = 0; n < 1000; ++n) queue->put(maker.make(n, 1000, {}), 0);
  queue->finish(kForever);
  EXPECT_EQ(as_made, 1000U);
}

TEST(VerifyQueue, ABacklogIsCheckedWhenItIsWhole) {
  Outcome outcome;
  std::size_t checks = 0;
  const auto queue = VerifyQueue::start(
                         {.backlog = 10},
                         [&](const FrameView& frame) {
                           ++checks;
                           return check(frame);
                         },
                         outcome.deliver())
                         .value();
  FrameMaker maker({});
  for (std::uint64_t n = 0; n < 19; ++n) {
    queue->put(maker.make(n, 64, {}), 0);
    queue->flush();
    EXPECT_EQ(checks, n < 9 ? 0U : 10U);
    EXPECT_EQ(outcome.frames.size(), checks);
  }
  EXPECT_EQ(queue->finish(kForever), 0U);
  EXPECT_EQ(checks, 19U);
}

TEST(VerifyQueue, WorkersCheckAndTheReceiverGoesOn) {
  Outcome outcome;
  Gate gate;
  std::mutex mutex;
  std::set<std::thread::id> checkers;
  const auto queue = VerifyQueue::start(
                         {.threads = 1, .backlog = 4},
                         [&](const FrameView& frame) {
                           {
                             const std::lock_guard lock(mutex);
                             checkers.insert(std::this_thread::get_id());
                           }
                           gate.pass();
                           return check(frame);
                         },
                         outcome.deliver())
                         .value();
  FrameMaker maker({});
  // One group at the worker, the others wait: nothing of that stops who receives.
  for (std::uint64_t n = 0; n < 16; ++n) queue->put(maker.make(n, 64, {}), 0);
  queue->flush();
  EXPECT_TRUE(outcome.frames.empty());
  EXPECT_EQ(queue->waiting(), 16U);
  while (gate.waiting() == 0) std::this_thread::yield();
  {
    const std::lock_guard lock(mutex);
    EXPECT_FALSE(checkers.contains(std::this_thread::get_id()));
  }
  gate.open();
  EXPECT_EQ(queue->finish(kForever), 0U);
  EXPECT_EQ(outcome.frames.size(), 16U);
}

TEST(VerifyQueue, AFlushWhileEveryGroupIsBeingCheckedChangesNothing) {
  Gate gate;
  Outcome outcome;
  const auto queue = VerifyQueue::start(
                         {.threads = 2},
                         [&](const FrameView& frame) {
                           gate.pass();
                           return check(frame);
                         },
                         outcome.deliver())
                         .value();
  constexpr std::uint64_t kFrames = 100;  // more than there are groups
  std::atomic<std::uint64_t> begun{0};
  std::jthread receiver([&] {
    FrameMaker maker({});
    for (std::uint64_t n = 0; n < kFrames; ++n) {
      begun = n + 1;
      put(*queue, maker, n);
      for (int i = 0; i < 3; ++i) queue->flush();
    }
    EXPECT_EQ(queue->finish(kForever), 0U);
  });
  // Until the receiver waits for a group.
  for (std::uint64_t seen = 0; gate.waiting() == 0 || seen != begun;) {
    seen = begun;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
  }
  EXPECT_LT(begun, kFrames);
  gate.open();
  receiver.join();
  ASSERT_EQ(outcome.frames.size(), kFrames);
  for (std::uint64_t n = 0; n < kFrames; ++n) EXPECT_EQ(outcome.frames[n].frame.number, n);
}

TEST(VerifyQueue, WhatWasNotCheckedInTimeIsDeliveredAsUnverified) {
  for (const std::size_t threads : {0U, 2U}) {
    Outcome outcome;
    std::atomic<unsigned> checks{0};
    const auto queue = VerifyQueue::start(
                           {.threads = threads, .backlog = 1000},
                           [&](const FrameView& frame) {
                             ++checks;
                             return check(frame);
                           },
                           outcome.deliver())
                           .value();
    FrameMaker maker({});
    for (std::uint64_t n = 0; n < 500; ++n) queue->put(maker.make(n, 64, {}), 0);
    const std::uint64_t unverified = queue->finish(0);  // long ago
    EXPECT_EQ(outcome.frames.size(), 500U);
    EXPECT_EQ(unverified, outcome.unverified());
    EXPECT_EQ(checks + unverified, 500U) << "each is checked or it is not";
    if (threads == 0) {
      EXPECT_EQ(unverified, 500U);
    }
    FlowReceiver flow({});
    for (const CheckedFrame& frame : outcome.frames) {
      if (frame.checked) {
        flow.note(frame.reading.probe, 64, frame.arrived_ns);
      } else {
        flow.note_unverified(frame.reading.probe);
      }
    }
    EXPECT_EQ(flow.result({.frames = 500}).lost, 0U) << "they came, checked or not";
    EXPECT_EQ(flow.result({.frames = 500}).unverified, unverified);
  }
}

}  // namespace
}  // namespace shmif::perf
