// A descriptor that waits for a futex: it hears every wake, whoever arms it, and stays quiet else.

#include <gtest/gtest.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <thread>

#include "bus/atomics.hpp"
#include "bus/port/futex_poll.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::bus {
namespace {

class FutexPollTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!poll_.open()) GTEST_SKIP() << "io_uring cannot wait for futexes here";
  }
  /// Whether the descriptor is readable now, or within `timeout_ms`.
  bool rung(int timeout_ms = 0) const {
    pollfd p{.fd = poll_.descriptor(), .events = POLLIN, .revents = 0};
    return ::poll(&p, 1, timeout_ms) == 1;
  }
  /// Result: how many waits that ended.
  long wake() { return syscall(SYS_futex, &word(), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }
  void ring() {
    fetch_add(word(), 1U);
    wake();
  }
  std::uint32_t& word() { return *word_; }
  bool arm() { return poll_.arm(word(), load_seq_cst(word())); }

  const test::Shared<std::uint32_t> word_;
  FutexPoll poll_;
};

constexpr int kLong = 30'000;

TEST_F(FutexPollTest, IsReadableOnceTheFutexIsWokenAndQuietAfterADrain) {
  for (unsigned round = 0; round < 1000; ++round) {
    ASSERT_TRUE(arm());
    ASSERT_FALSE(rung()) << round;
    ring();
    ASSERT_TRUE(rung(kLong)) << round;
    poll_.drain();
    ASSERT_FALSE(rung()) << round;
  }
}

TEST_F(FutexPollTest, IsReadableAtOnceWhenTheValueHasMovedAlready) {
  for (std::uint32_t round = 0; round < 1000; ++round) {
    word() = round + 1;
    ASSERT_TRUE(poll_.arm(word(), round));
    ASSERT_TRUE(rung(kLong)) << round;
    poll_.drain();
    ASSERT_FALSE(rung()) << round;
  }
}

TEST_F(FutexPollTest, HearsAWakeAlsoAfterOneThatDidNotMoveTheValue) {
  // The second half of a ring by somebody who was slow: its first half was seen long ago.
  ASSERT_TRUE(arm());
  for (unsigned round = 0; round < 1000; ++round) {
    wake();
    ASSERT_TRUE(rung(kLong)) << round;
    poll_.drain();
    ASSERT_TRUE(arm());
    ASSERT_FALSE(rung()) << round;
  }
  ring();
  EXPECT_TRUE(rung(kLong));
}

TEST_F(FutexPollTest, HearsAWakeThatCameBetweenDrainAndArming) {
  for (unsigned round = 0; round < 1000; ++round) {
    ASSERT_TRUE(arm());
    ring();
    poll_.drain();
    ring();
    wake();
    ASSERT_TRUE(arm());
    poll_.drain();
    ASSERT_TRUE(arm());
    ring();
    ASSERT_TRUE(rung(kLong)) << round;
  }
}

TEST_F(FutexPollTest, ValuesThatMoveWithoutAWakeNeitherPileUpNorDeafenIt) {
  // By ringers that died before their wake, or a hostile one.
  for (unsigned round = 0; round < 10'000; ++round) {
    fetch_add(word(), 1U);
    ASSERT_TRUE(arm());
  }
  EXPECT_LT(wake(), 100);
  poll_.drain();
  ASSERT_TRUE(arm());
  ring();
  EXPECT_TRUE(rung(kLong));
}

TEST_F(FutexPollTest, IsNotDeafWhenTheThreadThatArmedItHasEnded) {
  std::thread([&] { EXPECT_TRUE(arm()); }).join();
  ring();
  EXPECT_TRUE(rung(kLong)) << "its wait has ended with the thread, or it was woken";
  poll_.drain();
  ASSERT_TRUE(arm());
  ring();
  EXPECT_TRUE(rung(kLong));
}

TEST_F(FutexPollTest, HearsTheRingerWhileTheThreadThatArmedItIsBusyElsewhere) {
  std::atomic<int> step{0};
  std::thread other([&] {
    EXPECT_TRUE(arm());
    step = 1;
    while (step == 1) std::this_thread::yield();
  });
  while (step == 0) std::this_thread::yield();
  ring();
  EXPECT_TRUE(rung(kLong));
  poll_.drain();
  EXPECT_TRUE(arm());
  ring();
  EXPECT_TRUE(rung(kLong));
  step = 2;
  other.join();
}

TEST_F(FutexPollTest, DoesNotInterruptTheThreadThatArmedIt) {
  ASSERT_TRUE(arm());
  std::jthread ringer([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ring();
  });
  pollfd p{.fd = poll_.descriptor(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&p, 1, kLong), 1) << errno;
}

TEST_F(FutexPollTest, LosesNoWakeAmongRingersThatAreLateAndFast) {
  const std::uint64_t rounds = test::kSanitized ? 3'000 : 100'000;
  struct Race {
    std::atomic<std::uint64_t> sent{0};
    std::atomic<std::uint64_t> heard{0};
    std::atomic<bool> over{false};
  };
  const test::Shared<Race> race;
  test::Child ringer([&] {
    for (std::uint64_t i = 0; i < rounds; ++i) {
      while (race->heard < i) cpu_relax();
      for (std::uint64_t j = 0; j < i % 64; ++j) cpu_relax();
      ++race->sent;
      ring();
    }
    return 0;
  });
  test::Child late([&] {  // wakes in vain all the time
    while (!race->over) {
      wake();
      std::this_thread::sleep_for(std::chrono::microseconds(5));
    }
    return 0;
  });
  for (std::uint64_t heard = 0; heard < rounds;) {
    const std::uint32_t seen = load_seq_cst(word());
    ASSERT_TRUE(poll_.arm(word(), seen));
    if (race->sent == heard) {
      ASSERT_TRUE(rung(kLong)) << "after " << heard;
    }
    poll_.drain();
    heard = race->sent;
    race->heard = heard;
  }
  race->over = true;
  EXPECT_EQ(ringer.wait(), 0);
  EXPECT_EQ(late.wait(), 0);
}

}  // namespace
}  // namespace shmif::bus
