// Senders that are killed or stopped at any moment, mostly in the middle of a batch.

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <vector>

#include "tests/process/figures.hpp"
#include "tests/process/fuse.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

/// What a sender and the test share.
struct SenderPage {
  std::atomic<std::uint64_t> sent{0};
  Fuse fuse;
};

/// Sends bursts of frames that it has made before, until `stop` is set or a send fails.
int send_flat_out(const std::string& path, unsigned sender, SenderPage& page,
                  const std::atomic<bool>& stop) {
  constexpr std::uint32_t kBatch = 16;
  Port port = port_on(path, {.name = "flatout" + std::to_string(sender)});
  // A burst is long beside the time from when a signal is due to when it comes, some microseconds.
  std::vector<NumberedBatch> made(48,
                                  NumberedBatch(sender % 2 == 0 ? port.max_frame_bytes() : 560));
  bool failed = false;
  for (std::uint32_t next = 0; !stop && !failed;) {
    std::vector<std::span<const FrameView>> ready;
    for (NumberedBatch& batch : made) {
      ready.push_back(batch.make(sender, next, kBatch));
      next += kBatch;
    }
    page.fuse.burst([&] {
      for (const auto& batch : ready) {
        const SendResult result = port.send(batch);
        if ((failed = result.error || result.taken != kBatch)) return;
        page.sent = page.sent + kBatch;
      }
    });
  }
  return failed ? 1 : 0;
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
    return Child(
        [this, number] { return send_flat_out(bus.path(), number, page(number), shared->stop); });
  }
  std::uint64_t sent_by(unsigned number) const { return page(number).sent; }
  /// Has the signal hit that sender in its next burst. Result: false when it sends no bursts.
  bool strike(unsigned number, int signal) {
    if (!eventually([&] { return page(number).fuse.has_burst(); })) return false;
    page(number).fuse.set(signal, random);
    return true;
  }
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
  std::mt19937_64 random{announced_seed()};

 private:
  struct Senders {
    std::atomic<bool> stop{false};
    std::array<SenderPage, 256> pages{};
  };
  SenderPage& page(unsigned number) const { return shared->pages.at(number); }

  const Shared<Senders> shared;
  NumberedBatch frames{steady.max_frame_bytes()};
};
using Kill = FlatOut;
using Stop = FlatOut;

TEST_F(Kill, SendersKilledAtAnyMomentCostTheOthersNothing) {
  constexpr unsigned kRounds = kSanitized ? 20 : 120;
  constexpr unsigned kMaxRounds = 240;  // until one was killed in the middle of a batch
  Checker checker(bus.path());
  const auto none_yet = [&] {
    const BusInfo info = bus.info();
    return info.takeovers_dead + info.takeovers_living == 0;
  };
  for (unsigned round = 1; round <= kRounds || (round <= kMaxRounds && none_yet()); ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Child sender = start_sender(round);
    ASSERT_TRUE(strike(round, SIGKILL));
    ASSERT_EQ(sender.wait(), 128 + SIGKILL);
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
  constexpr unsigned kMaxRounds = 1000;  // until it was stopped in the middle of a batch
  Checker checker(bus.path());
  unsigned held_the_lock = 0;
  Child sender = start_sender(1);
  for (unsigned round = 0; round < kRounds || (round < kMaxRounds && held_the_lock == 0); ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    ASSERT_TRUE(strike(1, SIGSTOP) && sender.wait_until_stopped());
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
    ASSERT_TRUE(strike(1, SIGSTOP) && sender.wait_until_stopped());
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
    ASSERT_TRUE(strike(round, SIGSTOP) && sender.wait_until_stopped());
    ASSERT_NO_FATAL_FAILURE(send_steadily(1));
    sender.kill_and_wait();
    for (unsigned i = 0; i < 100; ++i) ASSERT_NO_FATAL_FAILURE(send_steadily(8));
  }
  expect_clean_without_claims();
}

}  // namespace
}  // namespace shmif::test
