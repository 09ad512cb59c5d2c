// Senders that are killed or stopped at any moment, mostly in the middle of a batch.

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <random>
#include <vector>

#include "bus/atomics.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

/// Sends as fast as it can, as long as it lives. The first batches are made beforehand: a sender
/// that makes each frame as it goes is seldom met in the middle of a batch.
int send_flat_out(const std::string& path, unsigned sender, std::atomic<std::uint64_t>& sent,
                  const std::atomic<bool>& stop) {
  constexpr std::uint32_t kBatch = 16;
  Port port = port_on(path, {.name = "flatout" + std::to_string(sender)});
  std::deque<NumberedBatch> made;
  std::vector<std::span<const FrameView>> ready;
  for (std::uint32_t i = 0; i < 128; ++i) {
    NumberedBatch& batch = made.emplace_back(port.max_frame_bytes());
    ready.push_back(batch.make(sender, i * kBatch, kBatch));
  }
  for (std::uint32_t i = 0; !stop; ++i) {
    const auto batch = i < ready.size() ? ready[i] : made[0].make(sender, i * kBatch, kBatch);
    const SendResult result = port.send(batch);
    if (result.error || result.taken != kBatch) return 1;
    sent = (i + 1) * kBatch;
  }
  return 0;
}

/// A port that checks all it hears.
class Checker {
 public:
  explicit Checker(const std::string& path) : port_(port_on(path, {.name = "checker"})) {
    latest_.fill(-1);
  }
  void read() {
    for (;;) {
      batch_.clear();
      ASSERT_FALSE(port_.receive(batch_).error);
      if (batch_.empty()) return;
      for (const FrameView& frame : batch_.frames()) {
        const auto n = check_numbered(frame);
        ASSERT_TRUE(n) << "frame " << frame.number << " is torn";
        ASSERT_GT(n->sequence, latest_.at(n->sender)) << "sender " << n->sender;
        latest_.at(n->sender) = n->sequence;
      }
    }
  }
  Port& port() { return port_; }
  std::int64_t latest(unsigned sender) const { return latest_.at(sender); }

 private:
  Port port_;
  FrameBatch batch_{64};
  std::array<std::int64_t, 256> latest_{};
};

/// A bus of the least size, senders in processes of their own, and one in this process that keeps
/// on sending whatever becomes of them. Its frames are of sender 0.
class FlatOut : public testing::Test {
 protected:
  Child start_sender(unsigned number) const {
    return Child([this, number] {
      return send_flat_out(bus.path(), number, shared->sent.at(number), shared->stop);
    });
  }
  std::uint64_t sent_by(unsigned number) const { return shared->sent.at(number); }
  /// Result: the exit code of `sender`, which goes on and is asked to end.
  int let_end(Child& sender) const {
    sender.resume();
    shared->stop = true;
    return sender.wait();
  }
  void send_steadily(std::uint32_t count) {
    const SendResult result = steady.send(frames.make(0, sequence, count));
    ASSERT_FALSE(result.error) << result.error.message();
    sequence += count;
  }
  void expect_clean_without_claims() const {
    for (const PortInfo& p : bus.info().ports) EXPECT_FALSE(p.claim_bytes) << p.name;
    EXPECT_TRUE(is_clean(bus.audit()));
  }

  const TempBus bus{small_ring()};
  Port steady = port_on(bus.path(), {.name = "steady"});
  std::uint32_t sequence = 0;  ///< of the next steady frame

 private:
  struct Senders {
    std::atomic<bool> stop{false};
    std::array<std::atomic<std::uint64_t>, 256> sent{};
  };
  const Shared<Senders> shared;
  NumberedBatch frames{steady.max_frame_bytes()};
};
using Kill = FlatOut;
using Stop = FlatOut;

TEST_F(Kill, SendersKilledAtAnyMomentCostTheOthersNothing) {
  constexpr unsigned kRounds = kSanitized ? 20 : 120;
  constexpr unsigned kMostRounds = 240;  // until one was killed in the middle of a batch
  std::mt19937 random(4711);
  Checker checker(bus.path());
  const auto none_yet = [&] {
    const BusInfo info = bus.info();
    return info.takeovers_dead + info.takeovers_living == 0;
  };
  for (unsigned round = 1; round <= kRounds || (round <= kMostRounds && none_yet()); ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Child sender = start_sender(round);
    ASSERT_TRUE(eventually([&] { return sent_by(round) > 0; }));
    for (auto spins = random() % 10000; spins > 0; --spins) bus::cpu_relax();
    sender.kill_and_wait();
    checker.read();
    for (unsigned i = 0; i < 40; ++i) {  // a lap or more
      ASSERT_NO_FATAL_FAILURE(send_steadily(4));
      checker.read();
    }
    ASSERT_EQ(checker.latest(0), sequence - 1);
  }
  const BusInfo info = bus.info();
  EXPECT_GT(info.takeovers_dead + info.takeovers_living, 0U) << "none was killed in a batch";
  expect_clean_without_claims();
  EXPECT_EQ(passed(checker.port().counters()), info.frames);
}

TEST_F(Stop, ASenderStoppedWhileItSendsFlatOutDoesNotHoldUpTheOthersAndTearsNothingWhenItGoesOn) {
  constexpr unsigned kRounds = kSanitized ? 10 : 40;
  constexpr unsigned kMostRounds = 1000;  // until it was stopped in the middle of a batch
  std::mt19937 random(815);
  Checker checker(bus.path());
  unsigned held_the_lock = 0;
  Child sender = start_sender(1);
  for (unsigned round = 0; round < kRounds || (round < kMostRounds && held_the_lock == 0);
       ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    const std::uint64_t before = sent_by(1);
    ASSERT_TRUE(eventually([&] { return sent_by(1) > before + random() % 500; }));
    sender.stop();
    held_the_lock += bus.info().lock_holder ? 1U : 0U;
    for (unsigned i = 0; i < 200; ++i) {  // several laps
      ASSERT_NO_FATAL_FAILURE(send_steadily(4));
      checker.read();
    }
    ASSERT_EQ(checker.latest(0), sequence - 1) << "heard while the other was stopped";
    ASSERT_TRUE(is_clean(bus.audit()));
    sender.resume();
  }
  EXPECT_EQ(let_end(sender), 0);
  checker.read();
  const BusInfo info = bus.info();
  EXPECT_GT(held_the_lock, 0U) << "never stopped in the middle of a batch";
  EXPECT_GT(info.takeovers_living, 0U);
  EXPECT_EQ(info.frames, sequence + sent_by(1)) << "each was sent exactly once";
  EXPECT_EQ(passed(checker.port().counters()), info.frames);
  EXPECT_TRUE(is_clean(bus.audit()));
}

TEST_F(Stop, TheClaimOfAStoppedSenderIsShownAndGoesAwayWhenItGoesOn) {
  Child sender = start_sender(1);
  const auto claims = [&] {
    std::uint64_t bytes = 0;
    for (const PortInfo& p : bus.info().ports) bytes += p.claim_bytes.value_or(0);
    return bytes;
  };
  bool caught = false;
  for (unsigned tries = 0; tries < 2000 && !caught; ++tries) {
    const std::uint64_t before = sent_by(1);
    ASSERT_TRUE(eventually([&] { return sent_by(1) > before; }));
    sender.stop();
    if (bus.info().lock_holder) {
      ASSERT_NO_FATAL_FAILURE(send_steadily(1));  // takes the lock over
      caught = claims() != 0;
    }
    if (!caught) sender.resume();
  }
  ASSERT_TRUE(caught) << "never stopped with a claim";
  EXPECT_LE(claims(), (64U << 10U) / 4);
  EXPECT_EQ(let_end(sender), 0);
  EXPECT_EQ(claims(), 0U);
  EXPECT_TRUE(is_clean(bus.audit()));
}

TEST_F(Kill, AStoppedSenderThatIsThenKilledLeavesNoClaim) {
  for (unsigned round = 1; round <= 10; ++round) {
    Child sender = start_sender(round);
    ASSERT_TRUE(eventually([&] { return sent_by(round) > 0; }));
    sender.stop();
    ASSERT_NO_FATAL_FAILURE(send_steadily(1));
    sender.kill_and_wait();
    for (unsigned i = 0; i < 100; ++i) ASSERT_NO_FATAL_FAILURE(send_steadily(8));
  }
  expect_clean_without_claims();
}

}  // namespace
}  // namespace shmif::test
