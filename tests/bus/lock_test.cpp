// The lock: nobody can keep it, whatever stands in its word.

#include "bus/ring/lock.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/close_range.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "bus/file/liveness.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using bus::BusLock;
namespace lock_word = bus::lock_word;

TEST(Lock, IsFreeAgainAfterReleaseAndItsWordNeverComesBack) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  BusLock lock(raw.header(), 3, raw.fd());
  const std::uint64_t first = lock.acquire();
  EXPECT_EQ(lock_word::holder(first), 3U);
  EXPECT_EQ(raw.header().lock, first);
  lock.release(first);
  EXPECT_TRUE(lock_word::is_free(raw.header().lock));
  const std::uint64_t second = lock.acquire();
  EXPECT_NE(first, second);
  EXPECT_EQ(raw.header().lock, second);
  lock.release(first);  // late: not ours any more
  EXPECT_EQ(raw.header().lock, second);
}

TEST(Lock, AnyStrayValueInTheWordIsTakenOver) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  Port sender = port_on(file.path());
  Port other = port_on(file.path());
  NumberedBatch batch(60);
  std::uint64_t count = 0;
  std::uint64_t dead = 0;
  for (const unsigned name : {0U, 1U, 5U, 255U, 256U, 999U, 1000U, 1022U}) {
    raw.lock_as(name);
    const bool is_own = name == sender.slot();
    const bool may_live = name == other.slot() || name == lock_word::kRepairSlot;
    dead += is_own || may_live ? 0 : 1;
    SCOPED_TRACE("holder " + std::to_string(name));
    EXPECT_FALSE(sender.send(batch.make(0, static_cast<std::uint32_t>(count), 1)).error);
    EXPECT_EQ(file.info().frames, ++count);
    EXPECT_EQ(file.info().takeovers_dead, dead) << "no such port lives";
    EXPECT_TRUE(lock_word::is_free(raw.header().lock));
  }
  bus::store_seq_cst(raw.header().lock, UINT64_MAX);
  EXPECT_FALSE(sender.send(batch.make(0, 99, 1)).error);
}

TEST(Lock, ADeadHolderLosesItAtOnceAndALivingOneAfterPatience) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  Port sender = port_on(file.path());
  Port idle = port_on(file.path());
  NumberedBatch batch(60);
  raw.lock_as(77);  // no such port
  EXPECT_EQ(file.info().lock_holder, 77U);
  EXPECT_FALSE(sender.send(batch.make(0, 0, 1)).error);
  EXPECT_EQ(file.info().lock_holder, std::nullopt);
  EXPECT_EQ(file.info().takeovers_dead, 1U);
  EXPECT_EQ(file.info().takeovers_living, 0U);
  raw.lock_as(idle.slot());  // attached, but never lets go
  EXPECT_FALSE(sender.send(batch.make(0, 1, 1)).error);
  EXPECT_EQ(file.info().takeovers_dead, 1U);
  EXPECT_EQ(file.info().takeovers_living, 1U);
  // What the bus reports of it: no takeover from a living holder comes before the patience is over.
  EXPECT_GE(file.info().longest_hold_ns.value_or(0),
            std::chrono::nanoseconds(BusLock::kPatience - BusLock::kLongestCooldown).count());
  EXPECT_GT(sender.counters().lock_sleeps, 0U);
}

TEST(Lock, TheLongestHoldIsShownUntilThereIsALongerOne) {
  constexpr std::uint64_t kHour = 3'600'000'000'000;
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  Port sender = port_on(file.path());
  const Port idle = port_on(file.path());
  NumberedBatch batch(60);
  EXPECT_EQ(file.info().longest_hold_ns, std::nullopt);
  for (const std::uint64_t before : {kHour, std::uint64_t{1}}) {
    raw.header().longest_hold_ns = before;
    raw.lock_as(idle.slot());
    EXPECT_FALSE(sender.send(batch.make(0, 0, 1)).error);
    EXPECT_EQ(file.info().longest_hold_ns == before, before == kHour);
  }
}

TEST(Lock, TheLongestHoldIsThatOfOneHolderAndNotOfAllThatWereWaitedFor) {
  using Clock = std::chrono::steady_clock;
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  Port sender = port_on(file.path());
  const Port one = port_on(file.path());
  const Port other = port_on(file.path());
  // Each holder's time is measured around it, so it is never shorter than what the sender can see.
  Clock::time_point before = Clock::now();
  raw.lock_as(one.slot());
  std::atomic<bool> sent = false;
  std::thread waiting([&] {
    NumberedBatch batch(60);
    EXPECT_FALSE(sender.send(batch.make(0, 0, 1)).error);
    sent = true;
  });
  Clock::duration longest{};
  for (std::size_t i = 1; i < 200 && (i < 6 || !file.info().longest_hold_ns) && !sent; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(15));
    const Clock::time_point next = Clock::now();  // the last moment of the holder before
    raw.lock_as((i % 2 == 0 ? one : other).slot());
    longest = std::max(longest, Clock::now() - before);
    before = next;
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(15));
  bus::store_seq_cst(raw.header().lock, std::uint64_t{0});
  longest = std::max(longest, Clock::now() - before);
  waiting.join();
  ASSERT_TRUE(file.info().longest_hold_ns.has_value());
  EXPECT_LE(*file.info().longest_hold_ns,
            static_cast<std::uint64_t>(std::chrono::nanoseconds(longest).count()));
}

TEST(Lock, AWishNobodyComesForIsStruckOut) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  BusLock lock(raw.header(), 3, raw.fd());
  for (const std::uint64_t wish : {std::uint64_t{78}, std::uint64_t{257}, UINT64_MAX}) {
    SCOPED_TRACE("wish " + std::to_string(wish));
    bus::store_seq_cst(raw.header().wish, wish);
    lock.release(lock.acquire());
    EXPECT_EQ(bus::load_seq_cst(raw.header().wish), 0U);
  }
}

TEST(Lock, AnUnluckyWaiterWishesAndTakesTheWishBackWhenItHasTheLock) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  const Port idle = port_on(file.path());
  BusLock lock(raw.header(), 9, raw.fd());
  bool wished = false;
  // On a busy machine, the waiter may run out of patience before this thread looks. Then the test
  // tries again.
  for (unsigned round = 0; round < 100 && !wished; ++round) {
    const std::uint64_t held = raw.lock_as(idle.slot());  // by a live port that never frees it
    std::uint64_t mine = 0;
    std::jthread waiter([&] { mine = lock.acquire(); });
    EXPECT_TRUE(eventually([&] {
      wished = bus::load_seq_cst(raw.header().wish) == 10;
      return wished || bus::load_seq_cst(raw.header().lock) != held;
    }));
    bus::compare_and_swap(raw.header().lock, held, lock_word::freed(held));
    waiter.join();
    EXPECT_EQ(raw.header().lock, mine);
    EXPECT_EQ(bus::load_seq_cst(raw.header().wish), 0U);
    lock.release(mine);
  }
  EXPECT_TRUE(wished);
}

TEST(Lock, AFreeLockIsLeftToWhoWishesIt) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  BusLock hurried(raw.header(), 3, raw.fd());
  BusLock unlucky(raw.header(), 4, raw.fd());
  // Each round the wish stands before either of them starts, so only a hurried one that did not
  // step back is first. One whose rival was kept from running for long may be, now and then.
  constexpr unsigned kRounds = 50;
  unsigned went_first = 0;
  for (unsigned round = 0; round < kRounds; ++round) {
    bus::store_seq_cst(raw.header().wish, std::uint64_t{5});
    std::atomic<unsigned> turn{0};
    std::atomic<bool> rival_runs{false};
    unsigned turn_of_unlucky = 0;
    std::jthread rival([&] {
      rival_runs = true;
      std::this_thread::sleep_for(std::chrono::microseconds(50));  // the hurried one is there first
      const std::uint64_t mine = unlucky.acquire();
      turn_of_unlucky = turn++;
      bus::store_seq_cst(raw.header().wish, std::uint64_t{0});
      unlucky.release(mine);
    });
    while (!rival_runs) std::this_thread::yield();
    const std::uint64_t mine = hurried.acquire();
    ++turn;
    hurried.release(mine);
    rival.join();
    went_first += turn_of_unlucky == 0 ? 1 : 0;
  }
  EXPECT_GT(went_first, kRounds / 2);
}

TEST(Liveness, APortLivesOnAfterItsProcessClosedEveryDescriptor) {
  const TempBus file(small_ring());
  const Shared<std::atomic<int>> step;
  Child daemon([&] {
    Port port = port_on(file.path(), {.name = "daemon"});
    if (close_range(3, ~0U, 0) != 0) return 1;
    *step = 1;
    while (*step == 1) std::this_thread::yield();
    NumberedBatch batch(60);
    return port.send(batch.make(0, 0, 1)).error ? 2 : 0;
  });
  ASSERT_TRUE(eventually([&] { return *step == 1; }));
  ASSERT_EQ(file.info().ports.size(), 1U);
  EXPECT_TRUE(file.info().ports[0].live);
  *step = 2;
  EXPECT_EQ(daemon.wait(), 0);
  EXPECT_EQ(file.info().frames, 1U);
}

TEST(Lifeline, WithoutALockThereIsNone) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  const auto open = [&](bool locked) {
    return bus::Lifeline::open(raw.fd(), file.path(), [&](int description) {
      return bus::take_liveness(description, 7) && locked;
    });
  };
  {
    const auto held = open(true);
    EXPECT_TRUE(bus::is_alive(raw.fd(), 7));
  }
  const auto none = open(false);
  EXPECT_FALSE(bus::is_alive(raw.fd(), 7)) << "its description is still open";
}

/// A wrong "dead" would let others take its slot and its claim.
TEST(Liveness, AProcessThatTheKernelSaysNothingAboutCountsAsAlive) {
  EXPECT_TRUE(bus::is_alive(-1, 7));
}

/// A program may close descriptors that it does not know, and open a file in their place.
TEST(Lock, NoHolderCountsAsDeadByWhatAnotherFileSays) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  const Port holder = port_on(file.path());
  const UniqueFd probe(dup(raw.fd()));
  BusLock lock(raw.header(), 9, probe.get());
  const UniqueFd other(::open(file.file("other").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(dup2(other.get(), probe.get()), probe.get());
  raw.lock_as(holder.slot());
  const std::uint64_t mine = lock.acquire();
  EXPECT_EQ(raw.header().lock, mine);
  EXPECT_EQ(raw.header().takeovers_dead, 0U);
  EXPECT_EQ(raw.header().takeovers_living, 1U);
}

/// However long a holder stands still, a waiter costs it little, and takes no other's turn.
TEST(Lock, AWaiterLooksSeldomAndLeavesTheWishOfAnotherAlone) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  const Port holder = port_on(file.path());
  BusLock lock(raw.header(), 9, raw.fd());
  bus::store_seq_cst(raw.header().wish, std::uint64_t{5});
  raw.lock_as(holder.slot());
  const std::uint64_t mine = lock.acquire();
  EXPECT_EQ(raw.header().lock, mine);
  EXPECT_EQ(raw.header().wish, 5U);
  constexpr std::uint64_t kLongestSleeps = BusLock::kPatience / BusLock::kLongestCooldown;
  EXPECT_GT(lock.sleeps(), 4U);
  EXPECT_LE(lock.sleeps(), kLongestSleeps + 8) << "the cooldown doubles";
}

}  // namespace
}  // namespace shmif::test
