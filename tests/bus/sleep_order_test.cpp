// What a sleeper may conclude from having been rung or not (D4): frames that lapped it count as
// filtered only where none of them can have been for it, else as lost.
//
// All happens in one thread, in the order that a test says. What must come between two steps of a
// call runs in a hook: this program is linked with `--wrap` for the steps (CMakeLists.txt).

#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <utility>

#include "bus/port/doorbell.hpp"
#include "bus/port/lookout.hpp"
#include "bus/port/port_table.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace {
thread_local bool late_to_mutexes = false;
}  // namespace
extern "C" int __real_pthread_mutex_lock(pthread_mutex_t* mutex);
extern "C" int __wrap_pthread_mutex_lock(pthread_mutex_t* mutex) {
  if (late_to_mutexes) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return __real_pthread_mutex_lock(mutex);
}

namespace shmif::test {
namespace {

/// Each runs once.
struct Hooks {
  std::function<void()> before_announcement, after_announcement;
  std::function<void()> when_its_look_found_nothing;
  std::function<void()> before_withdrawal;
  std::function<void()> while_an_address_is_tried;
};
Hooks hooks;

void run(std::function<void()>& hook) {
  if (hook) std::exchange(hook, nullptr)();
}

}  // namespace

// Member functions, seen as functions of their object. The names are the linker's.
std::chrono::nanoseconds real_announce(bus::Sleeper* self, bool by_descriptor) noexcept
    __asm__("__real__ZN5shmif3bus7Sleeper8announceEb");
bus::Woken real_withdraw(bus::Sleeper* self) noexcept
    __asm__("__real__ZN5shmif3bus7Sleeper8withdrawEv");
void real_found_nothing(bus::Sleeper* self) noexcept
    __asm__("__real__ZN5shmif3bus7Sleeper13found_nothingEv");
bool real_address_is_taken(const bus::Ring& ring, unsigned self, int fd, MacAddress mac) noexcept
    __asm__("__real__ZN5shmif3bus16address_is_takenERKNS0_4RingEjiNS_10MacAddressE");

std::chrono::nanoseconds hooked_announce(bus::Sleeper* self, bool by_descriptor) noexcept
    __asm__("__wrap__ZN5shmif3bus7Sleeper8announceEb");
bus::Woken hooked_withdraw(bus::Sleeper* self) noexcept
    __asm__("__wrap__ZN5shmif3bus7Sleeper8withdrawEv");
void hooked_found_nothing(bus::Sleeper* self) noexcept
    __asm__("__wrap__ZN5shmif3bus7Sleeper13found_nothingEv");
bool hooked_address_is_taken(const bus::Ring& ring, unsigned self, int fd, MacAddress mac) noexcept
    __asm__("__wrap__ZN5shmif3bus16address_is_takenERKNS0_4RingEjiNS_10MacAddressE");

std::chrono::nanoseconds hooked_announce(bus::Sleeper* self, bool by_descriptor) noexcept {
  run(hooks.before_announcement);
  const std::chrono::nanoseconds longest = real_announce(self, by_descriptor);
  run(hooks.after_announcement);
  return longest;
}
void hooked_found_nothing(bus::Sleeper* self) noexcept {
  run(hooks.when_its_look_found_nothing);
  real_found_nothing(self);
}
bus::Woken hooked_withdraw(bus::Sleeper* self) noexcept {
  run(hooks.before_withdrawal);
  return real_withdraw(self);
}
bool hooked_address_is_taken(const bus::Ring& ring, unsigned self, int fd,
                             MacAddress mac) noexcept {
  run(hooks.while_an_address_is_tried);
  return real_address_is_taken(ring, self, fd, mac);
}

namespace {

const MacAddress kNobody = *MacAddress::parse("02:00:00:00:99:99");
constexpr unsigned kGone = 201;  // a slot whose process is dead

class SleepOrder : public ::testing::Test {
 protected:
  void TearDown() override { hooks = {}; }

  void send(MacAddress to = kBroadcast) {
    EXPECT_EQ(sender.send(frames.make(0, sequence++, 1, to)).taken, 1U);
  }
  /// Sends until nothing of what stands in the ring now is left.
  void lap(MacAddress to = kBroadcast) {
    const std::uint64_t end = raw.header().last;
    while (raw.header().first <= end) send(to);
  }
  /// A sender commits a frame, and does nothing after that.
  std::uint64_t commit_without_a_look() {
    bus::BusLock lock(raw.header(), kGone, raw.fd());
    bus::RingWriter writer(raw.ring(), kGone, 1);
    const auto batch = frames.make(1, 0, 1);
    const std::uint64_t mine = lock.acquire();
    EXPECT_EQ(writer.append(mine, plan_batch(batch), 1), bus::AppendStatus::done);
    return mine;
  }
  void release(std::uint64_t mine) { bus::BusLock(raw.header(), kGone, raw.fd()).release(mine); }
  void fall_asleep() { ASSERT_FALSE(sleeper.prepare_wait().ready); }

  /// Hears out what there is. Result: whether each frame that passed is accounted for.
  testing::AssertionResult all_accounted_for() {
    FrameBatch in(256);
    do {
      in.clear();
    } while (sleeper.receive(in).frames != 0);
    const std::uint64_t all = bus.info().frames, counted = passed(sleeper.counters());
    if (counted == all) return testing::AssertionSuccess();
    return testing::AssertionFailure() << counted << " of " << all << " frames";
  }

  TempBus bus{small_ring()};
  RawBus raw{bus.path()};
  Port sender = port_on(bus.path(), {.name = "sender"});
  Port sleeper = port_on(bus.path(), {.name = "sleeper"});
  NumberedBatch frames{1000};
  std::uint32_t sequence = 0;
};

TEST_F(SleepOrder, WhatLappedASleeperUnrungWasForOthers) {
  fall_asleep();
  lap(kNobody);
  sleeper.finish_wait();
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().lost_frames, 0U);
}

TEST_F(SleepOrder, WhatLappedASleeperBeforeItWasRungWasForOthers) {
  fall_asleep();
  for (unsigned i = 0; i < 5; ++i) send(kNobody);
  send();
  const std::uint64_t others = sequence - 1;
  lap();
  sleeper.finish_wait();
  EXPECT_EQ(sleeper.counters().filtered_frames, others);
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().filtered_frames, others);
}

TEST_F(SleepOrder, AFrameFromBeforeTheAnnouncementThatIsLappedAfterTheLookIsLost) {
  hooks.before_announcement = [&] { send(); };  // nobody to ring yet
  hooks.before_withdrawal = [&] {               // the look has found it
    send();                                     // rings
    lap();
  };
  EXPECT_TRUE(sleeper.prepare_wait().ready);
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().filtered_frames, 0U) << "each was for it";
}

TEST_F(SleepOrder, SoItIsInAWaitByFutex) {
  hooks.before_announcement = [&] { send(); };
  hooks.before_withdrawal = [&] {
    send();
    lap();
  };
  EXPECT_TRUE(sleeper.wait(std::chrono::hours(1)));
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().filtered_frames, 0U);
}

TEST_F(SleepOrder, AFrameWhoseSenderDiedBeforeItLookedIsLostWhenItIsLapped) {
  fall_asleep();
  commit_without_a_look();  // dies with the lock
  send();                   // takes it over, and rings
  lap();
  sleeper.finish_wait();
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().filtered_frames, 0U) << "each was for it";
}

TEST_F(SleepOrder, SoItIsForASleeperThatNobodyRang) {
  fall_asleep();
  commit_without_a_look();
  lap(kNobody);
  sleeper.finish_wait();
  EXPECT_TRUE(all_accounted_for());
  EXPECT_GT(sleeper.counters().lost_frames, 0U);
}

TEST_F(SleepOrder, SoItIsWhereANewPortInTheSlotOfTheDeadFreesTheLock) {
  fall_asleep();
  const std::uint64_t mine = commit_without_a_look();
  // As if it had been of the slot that comes next.
  Port next = port_on(bus.path(), {.name = "next"});
  const unsigned slot = next.slot();
  EXPECT_FALSE(next.down());
  EXPECT_FALSE(next.detach());
  bus::store_seq_cst(raw.header().lock, bus::lock_word::next_held_by(mine, slot));
  const std::uint64_t takeovers = raw.header().takeovers_dead;
  ASSERT_TRUE(next.attach(bus.path()));
  ASSERT_EQ(next.slot(), slot);
  send();
  ASSERT_EQ(raw.header().takeovers_dead, takeovers) << "nobody had to take it over";
  lap();
  sleeper.finish_wait();
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().filtered_frames, 0U);
}

TEST_F(SleepOrder, AFrameIsLostThatAHolderOfBeforeCommittedAfterTheAnnouncementAndDidNotLook) {
  constexpr unsigned kStopped = 77;
  const std::uint64_t end = raw.header().last;
  raw.claim(kStopped, end, end, end + 4096);  // it lost the lock already
  fall_asleep();
  release(commit_without_a_look());  // goes on, commits, and is stopped again
  bus::store_seq_cst(raw.slot(kStopped).claim_owner, std::uint64_t{0});
  send();
  lap();
  sleeper.finish_wait();
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().filtered_frames, 0U);
}

TEST_F(SleepOrder, SoItIsWhereTheTakeoverWasCountedAndNotYetMadeWhenItFellAsleep) {
  const std::uint64_t held = raw.lock_as(kGone);
  bus::fetch_add(raw.header().takeovers, std::uint64_t{1});
  fall_asleep();
  release(held);
  release(commit_without_a_look());
  send();
  lap();
  sleeper.finish_wait();
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().filtered_frames, 0U);
}

TEST_F(SleepOrder, ATakeoverOfBeforeWhoseClaimsAreGoneLeavesNoDoubt) {
  raw.lock_as(kGone);
  send(kNobody);  // takes it over
  ASSERT_GT(raw.header().takeovers_dead, 0U);
  fall_asleep();
  lap(kNobody);
  sleeper.finish_wait();
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().lost_frames, 0U);
}

TEST_F(SleepOrder, WhatPassesAPortThatWentDownAsleepIsSkipped) {
  fall_asleep();
  EXPECT_FALSE(sleeper.down());
  lap(kNobody);
  sleeper.finish_wait();
  EXPECT_EQ(passed(sleeper.counters()), 0U);
  EXPECT_FALSE(sleeper.up());
  EXPECT_EQ(sleeper.counters().skipped_frames, bus.info().frames);
  EXPECT_TRUE(all_accounted_for());
}

TEST_F(SleepOrder, WhoWentDownAsleepAndUpAgainCountsEachFrameOnce) {
  for (const bool rung : {false, true}) {
    fall_asleep();
    EXPECT_FALSE(sleeper.down());
    if (rung) send();
    lap(kNobody);
    EXPECT_FALSE(sleeper.up());
    lap(rung ? kBroadcast : kNobody);
    sleeper.finish_wait();
    EXPECT_TRUE(all_accounted_for());
  }
}

TEST_F(SleepOrder, FinishWaitEndsTheAnnouncementAndQuietsTheDescriptorOfAPortThatIsDown) {
  fall_asleep();
  EXPECT_FALSE(sleeper.down());
  pollfd descriptor{.fd = sleeper.descriptor(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(poll(&descriptor, 1, 10'000), 1) << "down() ends the wait";
  sleeper.finish_wait();
  EXPECT_FALSE(is_set(raw.header().sleepers, sleeper.slot()));
  EXPECT_FALSE(is_set(raw.header().deep_sleepers, sleeper.slot()));
  // Else a loop that goes on polling it would spin until up().
  ASSERT_FALSE(sleeper.prepare_wait().ready);
  EXPECT_EQ(poll(&descriptor, 1, 0), 0);
}

TEST_F(SleepOrder, FinishWaitWithoutAWaitOrTwiceChangesNothing) {
  sleeper.finish_wait();
  send();
  EXPECT_TRUE(sleeper.prepare_wait().ready);
  lap();
  sleeper.finish_wait();
  sleeper.finish_wait();
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().filtered_frames, 0U);
  fall_asleep();
  send();
  sleeper.finish_wait();
  lap();
  sleeper.finish_wait();
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().filtered_frames, 0U);
}

TEST_F(SleepOrder, AnAnnouncementThatStandsWhilePortReadsAndPreparesAgainSpeaksForNoFrameOfItsOwn) {
  fall_asleep();
  send();
  EXPECT_TRUE(sleeper.prepare_wait().ready);
  lap();
  EXPECT_TRUE(all_accounted_for());
  lap();
  sleeper.finish_wait();
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().filtered_frames, 0U);
}

TEST_F(SleepOrder, FramesAfterTheRingAreNotTakenForOthersAlsoWhereThePortPassedOverSome) {
  send(kNobody);
  hooks.after_announcement = [&] {  // before the look, which passes over both
    send(kNobody);
    send(kNobody);
  };
  fall_asleep();
  EXPECT_EQ(sleeper.counters().filtered_frames, 3U);
  send();
  lap();
  sleeper.finish_wait();
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().filtered_frames, 3U);
}

TEST_F(SleepOrder, AWaitWhoseTimeEndsUnrungPassesOverNothingThatIsForIt) {
  hooks.before_withdrawal = [&] { lap(); };
  EXPECT_TRUE(sleeper.wait(std::chrono::nanoseconds(0)));
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().filtered_frames, 0U);
}

TEST_F(SleepOrder, APortThatHearsMoreFromNowOnTakesNothingOfThatForFiltered) {
  fall_asleep();
  send(kNobody);
  EXPECT_FALSE(sleeper.set_promiscuous(true));
  send(kNobody);  // rings
  lap(kNobody);
  sleeper.finish_wait();
  EXPECT_EQ(sleeper.counters().filtered_frames, 1U);
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().filtered_frames, 1U);
}

TEST_F(SleepOrder, AFrameSentWhileAnAddressIsTriedInVainIsLookedForAtOnce) {
  fall_asleep();
  pollfd descriptor{.fd = sleeper.descriptor(), .events = POLLIN, .revents = 0};
  const MacAddress own = sleeper.mac();
  hooks.while_an_address_is_tried = [&] { send(own); };  // nobody has that now
  EXPECT_EQ(sleeper.set_mac(sender.mac()), Errc::mac_taken);
  EXPECT_EQ(poll(&descriptor, 1, 10'000), 1) << "who sleeps deep would not see it";
  sleeper.finish_wait();
  EXPECT_TRUE(all_accounted_for());
  EXPECT_EQ(sleeper.counters().rx_frames, 1U);
}

class SleepOrderOnAPausingBus : public ::testing::Test {
 protected:
  void TearDown() override { hooks = {}; }

  /// Sends at most so many, without waiting for anybody.
  void send(unsigned max) {
    for (; max > 0; --max) {
      own.clear();
      static_cast<void>(sender.receive(own));  // as a port it is waited for, too
      const SendResult sent = sender.try_send(frames.make(0, sequence, 1));
      sequence += static_cast<std::uint32_t>(sent.taken);
    }
  }
  void expect_that_it_hears_all(Port& port) {
    FrameBatch in(1024, 1U << 20U);
    EXPECT_EQ(port.receive(in).lost, 0U);
    EXPECT_EQ(in.size(), sequence);
    EXPECT_GT(sequence, 0U);
  }

  TempBus bus{{.ring_bytes = 64U << 10U, .flow = Flow::pause, .patience = std::chrono::seconds(1)}};
  Port sender = port_on(bus.path(), {.name = "sender"});
  Port sleeper = port_on(bus.path(), {.name = "sleeper"});
  NumberedBatch frames{1000};
  FrameBatch own{256};
  std::uint32_t sequence = 0;
};

TEST_F(SleepOrderOnAPausingBus, APortIsWaitedForUntilItsLookFoundNothing) {
  hooks.before_announcement = [&] { send(200); };
  hooks.after_announcement = [&] { send(200); };
  EXPECT_TRUE(sleeper.prepare_wait().ready);
  expect_that_it_hears_all(sleeper);
}

TEST_F(SleepOrderOnAPausingBus, APortThatIsRungBeforeItsLookIsWaitedForFromWhereItHasReadTo) {
  hooks.before_announcement = [&] { send(30); };
  hooks.after_announcement = [&] { send(1); };
  EXPECT_TRUE(sleeper.prepare_wait().ready);
  send(200);
  expect_that_it_hears_all(sleeper);
}

TEST_F(SleepOrderOnAPausingBus, APortIsWaitedForFromWhereItWasRung) {
  EXPECT_FALSE(sleeper.prepare_wait().ready);
  send(400);
  sleeper.finish_wait();
  expect_that_it_hears_all(sleeper);
}

TEST_F(SleepOrderOnAPausingBus, SoItIsWhereItWasRungBeforeItSaidThatItsLookFoundNothing) {
  hooks.when_its_look_found_nothing = [&] { send(1); };
  EXPECT_FALSE(sleeper.prepare_wait().ready);
  send(400);
  sleeper.finish_wait();
  expect_that_it_hears_all(sleeper);
}

TEST_F(SleepOrderOnAPausingBus, APortThatLookedUpUnrungIsWaitedForAgain) {
  EXPECT_FALSE(sleeper.prepare_wait().ready);
  sleeper.finish_wait();
  send(400);
  expect_that_it_hears_all(sleeper);
}

TEST_F(SleepOrderOnAPausingBus, ANewPortIsNotTakenForWhereItsSlotsLastOwnerWasRung) {
  send(30);
  own.clear();
  EXPECT_EQ(sleeper.receive(own).frames, 30U);
  EXPECT_FALSE(sleeper.prepare_wait().ready);
  send(1);
  sleeper.finish_wait();
  const unsigned slot = sleeper.slot();
  EXPECT_FALSE(sleeper.down());
  EXPECT_FALSE(sleeper.detach());
  Port next = port_on(bus.path(), {.name = "next", .start = Start::oldest});
  ASSERT_EQ(next.slot(), slot);
  send(200);
  expect_that_it_hears_all(next);
}

/// The thread wakes, and has looked whether it is wanted, before this one takes its next mutex.
TEST(LookoutOrder, WhoAsksForALookGetsOneHoweverLateItComesToItsNextMutex) {
  std::atomic<int> looks{0};
  bus::Lookout lookout([&] {
    ++looks;
    return std::chrono::nanoseconds::max();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // it sleeps; if not, all is well
  late_to_mutexes = true;
  lookout.look_soon();
  late_to_mutexes = false;
  EXPECT_TRUE(eventually([&] { return looks == 1; }));
}

}  // namespace
}  // namespace shmif::test
