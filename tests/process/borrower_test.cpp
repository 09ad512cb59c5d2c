// A process that reads frames in place while another sends as fast as it can: what release() calls
// whole was whole.
//
// The sender is a process of its own, so ThreadSanitizer does not see that reading a frame where it
// lies races with the sender's writes. It does so by design, as the copies in bus/atomics.hpp.

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

constexpr unsigned kSender = 7;

struct Rig {
  std::atomic<bool> enough{false};
  std::atomic<std::uint64_t> sent{0};
};

int send_until_enough(const std::string& path, Rig& rig) {
  Port port = port_on(path, {.name = "sender"});
  NumberedBatch batch(200);  // a loan is 32 of them, and a batch less than a loan
  std::uint32_t sequence = 0;
  while (!rig.enough) {
    const std::size_t count = 1 + sequence * 7 % 5;
    const SendResult sent = port.try_send(batch.make(kSender, sequence, count));
    if (sent.error) return 1;
    sequence += static_cast<std::uint32_t>(sent.taken);
    // On a bus that pauses a port that sends has to read, too.
    FrameBatch own;
    if (port.patience().count() != 0) static_cast<void>(port.receive(own));
  }
  rig.sent = sequence;
  return 0;
}

class Borrower : public ::testing::Test {
 protected:
  /// Looks at one loan, and checks it as far as it is whole. `hold`: what to do while it is lent,
  /// before it is looked at or after that.
  template <class Hold>
  void borrow(const Hold& hold) {
    in_.clear();
    ASSERT_FALSE(reader_->receive_in_place(in_).error);
    made_.clear();
    ++loans_;
    if (loans_ % 2 == 0) hold();
    for (const FrameView& frame : in_.frames()) made_.push_back(check_numbered(frame));
    if (loans_ % 2 != 0) hold();
    const std::size_t torn = reader_->release();
    ASSERT_LE(torn, in_.size());
    for (std::size_t i = torn; i < in_.size(); ++i) {
      ASSERT_TRUE(made_[i]) << "torn, and called whole";
      ASSERT_EQ(made_[i]->sender, kSender);
      ASSERT_EQ(made_[i]->sequence, in_[i].number) << "another frame than it was";
      ASSERT_GE(in_[i].number, next_) << "delivered twice, or out of order";
      next_ = in_[i].number + 1;
    }
    whole_ += in_.size() - torn;
    torn_ += torn;
    if (torn != 0 && torn < in_.size()) ++torn_in_part_;
  }

  void expect_that_the_counters_add_up(std::uint64_t sent) {
    const PortCounters c = reader_->counters();
    EXPECT_EQ(c.rx_frames, whole_);
    EXPECT_EQ(passed(c), sent);
    EXPECT_EQ(c.corrupt, 0U);
  }

  std::optional<Port> reader_;
  FrameBatch in_;
  std::vector<std::optional<Numbered>> made_;
  std::uint64_t loans_ = 0, whole_ = 0, torn_ = 0, torn_in_part_ = 0;
  std::uint64_t next_ = 0;
};

TEST_F(Borrower, WhatReleaseCallsWholeWasWholeHoweverFastTheSenderIs) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const std::uint64_t ring = bus.info().ring_bytes;
  const Shared<Rig> rig;
  reader_ = port_on(bus.path(), {.name = "reader"});
  Child sender([&] { return send_until_enough(bus.path(), *rig); });
  std::mt19937 random(1);
  const auto have = [&](std::uint64_t frames, std::uint64_t loans) {
    return whole_ >= frames && torn_ >= frames && torn_in_part_ >= loans;
  };
  const auto begin = std::chrono::steady_clock::now();
  const auto deadline = begin + std::chrono::seconds(60);
  for (auto now = begin; now < deadline && !HasFatalFailure();
       now = std::chrono::steady_clock::now()) {
    if (have(kSanitized ? 5'000 : 50'000, 200)) break;
    // Those that are torn in part tell most, but need a CPU for each of the two.
    if (now - begin > std::chrono::seconds(2) && have(1000, 0)) break;
    // Some are held until the sender has come about as far as them again.
    const std::uint64_t until = raw.slot(reader_->slot()).position + ring - 2048 + random() % 8192;
    const bool long_held = loans_ % 4 < 2;
    borrow([&] {
      unsigned looks = 0;
      while (long_held && bus::load_acquire(raw.header().last) < until &&
             std::chrono::steady_clock::now() < deadline) {
        if (++looks % 1000 == 0) std::this_thread::yield();
      }
    });
  }
  rig->enough = true;
  ASSERT_EQ(sender.wait(), 0);
  EXPECT_TRUE(have(1000, 0)) << whole_ << " whole, " << torn_ << " torn";
  do {
    borrow([] {});
  } while (!in_.empty() && !HasFatalFailure());
  expect_that_the_counters_add_up(rig->sent);
}

TEST_F(Borrower, APausingBusOverwritesNothingThatIsLent) {
  BusOptions options = small_ring();
  options.flow = Flow::pause;
  options.patience = std::chrono::seconds(1);
  const TempBus bus(options);
  const Shared<Rig> rig;
  reader_ = port_on(bus.path(), {.name = "reader"});
  Child sender([&] { return send_until_enough(bus.path(), *rig); });
  const std::uint64_t enough = kSanitized ? 1'000 : 10'000;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (whole_ < enough && std::chrono::steady_clock::now() < deadline && !HasFatalFailure()) {
    borrow([&] {
      if (loans_ % 16 < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  }
  rig->enough = true;
  ASSERT_EQ(sender.wait(), 0);
  EXPECT_GE(whole_, enough);
  do {
    borrow([] {});
  } while (!in_.empty() && !HasFatalFailure());
  EXPECT_EQ(torn_, 0U);
  EXPECT_EQ(reader_->counters().lost_frames, 0U);
  expect_that_the_counters_add_up(rig->sent);
}

}  // namespace
}  // namespace shmif::test
