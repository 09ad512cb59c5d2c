// How long the lock of a NetBSD bus is waited for, by a clock of this program's own, which only
// sleeping moves.

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <ostream>
#include <vector>

#include "bus/netbsd/ring.hpp"

namespace {

/// Time as it passes for one that waits: only while it sleeps.
struct Waiting {
  std::int64_t slept_ns = 0;
  std::function<void()> at_sleep;  ///< what others do meanwhile
};
Waiting* waiting = nullptr;  // null: the machine's clock

}  // namespace

extern "C" int clock_gettime(clockid_t id, timespec* t) noexcept {
  if (id != CLOCK_MONOTONIC || waiting == nullptr)
    return static_cast<int>(syscall(SYS_clock_gettime, id, t));
  t->tv_sec = waiting->slept_ns / 1'000'000'000;
  t->tv_nsec = waiting->slept_ns % 1'000'000'000;
  return 0;
}
extern "C" int nanosleep(const timespec* time, timespec* left) {
  if (waiting == nullptr) return static_cast<int>(syscall(SYS_nanosleep, time, left));
  waiting->slept_ns += time->tv_sec * 1'000'000'000 + time->tv_nsec;
  waiting->at_sleep();
  return 0;
}

namespace shmif::bus {
namespace {

constexpr std::int64_t kNever = INT64_MAX;

class NetbsdLockTest : public testing::Test {
 protected:
  NetbsdLockTest() : file_(kNetbsdFileBytes), ring_(file_.data()), lock_(ring_) {
    ring_.header() = {kNetbsdMagic, 3, 0, kNetbsdDataBytes, 24, 0, 0};
  }

  /// How one acquire() went.
  struct Try {
    bool has_it = false;
    std::int64_t ms = 0;
    bool operator==(const Try&) const = default;
    friend void PrintTo(const Try& each, std::ostream* out) {
      *out << (each.has_it ? "taken after " : "given up after ") << each.ms << " ms";
    }
  };
  /// While another process holds the lock until that time, and changes the bus each `changes` ms
  /// until `last_change`.
  Try try_while_held(std::int64_t until_ms, std::int64_t changes = kNever,
                     std::int64_t last_change = kNever) {
    ring_.header().lock = until_ms > 0 ? 1 : 0;
    Waiting meanwhile;
    const auto passed = [&] { return meanwhile.slept_ns / 1'000'000; };
    meanwhile.at_sleep = [&] {
      if (passed() == until_ms) ring_.header().lock = 0;
      if (passed() % changes == 0 && passed() <= last_change) ++ring_.header().generation;
    };
    const std::uint64_t sleeps_before = lock_.sleeps();
    waiting = &meanwhile;
    const bool has_it = lock_.acquire();
    waiting = nullptr;
    EXPECT_EQ(ring_.header().lock, 1U);
    if (has_it) lock_.release();
    EXPECT_EQ(lock_.sleeps() - sleeps_before, static_cast<std::uint64_t>(passed()));
    return {has_it, passed()};
  }

  std::vector<std::byte> file_;
  NetbsdRing ring_;
  NetbsdLock lock_;
};

TEST_F(NetbsdLockTest, IsWaitedForASecondAndLongerWhileTheBusChanges) {
  EXPECT_EQ(try_while_held(0), (Try{true, 0}));
  EXPECT_EQ(try_while_held(1), (Try{true, 1}));
  EXPECT_EQ(try_while_held(1000), (Try{true, 1000}));
  EXPECT_EQ(try_while_held(1700, 900, 900), (Try{true, 1700}));
  EXPECT_EQ(try_while_held(kNever, 900, 1800), (Try{false, 2800}));
}

TEST_F(NetbsdLockTest, IsGivenUpAfterASecond) {
  EXPECT_EQ(try_while_held(kNever), (Try{false, 1000}));
}

TEST_F(NetbsdLockTest, IsGivenUpAfterTenSecondsThoughTheBusChanges) {
  EXPECT_EQ(try_while_held(kNever, 500), (Try{false, 10'000}));
}

// One that is stuck costs each sender a second once, and then a millisecond for each send.
TEST_F(NetbsdLockTest, ThatWasGivenUpIsTriedForAMillisecondUntilItIsSeenFree) {
  for (const std::int64_t free_after : {0, 1}) {
    EXPECT_EQ(try_while_held(kNever), (Try{false, 1000})) << free_after;
    EXPECT_EQ(try_while_held(kNever), (Try{false, 1}));
    EXPECT_EQ(try_while_held(2), (Try{false, 1}));
    EXPECT_EQ(try_while_held(free_after), (Try{true, free_after}));
    EXPECT_EQ(try_while_held(2), (Try{true, 2})) << free_after << ": patient again";
  }
}

}  // namespace
}  // namespace shmif::bus
