// A reader of a NetBSD bus between whose accesses to the file a kernel sends. The sources of the
// ring are compiled for this program alone, with SHMIF_FUZZ: each access calls a function of ours.

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <ostream>
#include <utility>
#include <vector>

#include "bus/netbsd/reader.hpp"
#include "bus/netbsd/ring.hpp"

namespace shmif::bus {
namespace {

/// Runs a function, and something else before two of its accesses to the file.
class Stepper {
 public:
  /// `one` is not behind `other`. Result: how many accesses `body` had.
  std::size_t run(const std::function<void()>& body, std::size_t one,
                  const std::function<void()>& before_one, std::size_t other,
                  const std::function<void()>& before_other) {
    at_ = 0;
    one_ = one;
    other_ = other;
    before_one_ = before_one;
    before_other_ = before_other;
    current_ = this;
    body();
    current_ = nullptr;
    return at_;
  }

  static void step() {
    Stepper* const self = std::exchange(current_, nullptr);  // what runs here has accesses, too
    if (self == nullptr) return;
    const std::size_t at = self->at_++;
    if (at == self->one_) self->before_one_();
    if (at == self->other_) self->before_other_();
    current_ = self;
  }

 private:
  static inline Stepper* current_ = nullptr;
  std::size_t at_ = 0, one_ = 0, other_ = 0;
  std::function<void()> before_one_, before_other_;
};

class NetbsdSteps : public testing::Test {
 protected:
  NetbsdSteps() : file_(kNetbsdFileBytes), ring_(file_.data()) {}

  NetbsdHeader& header() { return ring_.header(); }
  void put_header(std::uint32_t offset, std::uint32_t bytes) {
    const NetbsdPacketHeader packet{.bytes = bytes, .sender = 5};
    ring_.write(offset, reinterpret_cast<const std::byte*>(&packet), sizeof packet);
  }
  void put_frame(std::uint32_t offset, std::uint32_t bytes, unsigned char value) {
    const std::vector<std::byte> frame(bytes, std::byte{value});
    ring_.write(offset, frame.data(), frame.size());
  }

  std::vector<std::byte> file_;
  NetbsdRing ring_;
  Stepper stepper_;
};

// A kernel takes the lock and moves `last`; only later it writes the header there, and frees the
// lock. Between whatever accesses of a look that falls, the look sees the state before or after.
TEST_F(NetbsdSteps, AStateIsNeverSeenWhileItIsWritten) {
  constexpr std::uint32_t kOldEnd = 24 + 24 + 100;
  constexpr std::uint32_t kNewEnd = kOldEnd + 24 + 60;
  NetbsdState state;
  NetbsdLook look = NetbsdLook::held;
  const auto begin_anew = [&] {
    header() = {kNetbsdMagic, 3, 0, kNetbsdDataBytes, 24, 0, 0};
    put_header(24, 100);
    put_frame(kOldEnd, 24, 0x7f);  // what an earlier round left where the next header goes
  };
  const auto take = [&] {
    header().lock = 1;
    header().last = kOldEnd;
  };
  const auto finish = [&] {
    put_header(kOldEnd, 60);
    header().lock = 0;
  };
  const auto body = [&] { look = ring_.look(state); };
  begin_anew();
  const std::size_t steps = stepper_.run(body, SIZE_MAX, {}, SIZE_MAX, {});
  ASSERT_EQ(look, NetbsdLook::seen);
  ASSERT_GT(steps, 8U);
  std::size_t old_states = 0;
  std::size_t new_states = 0;
  for (std::size_t i = 0; i < steps; ++i) {
    for (std::size_t j = i; j < steps + 8; ++j) {
      begin_anew();
      stepper_.run(body, i, take, j, finish);
      if (look == NetbsdLook::held) continue;
      ASSERT_EQ(look, NetbsdLook::seen) << i << " and " << j;
      ASSERT_TRUE(state.end == kOldEnd || state.end == kNewEnd) << i << " and " << j;
      ++(state.end == kOldEnd ? old_states : new_states);
    }
  }
  EXPECT_GT(old_states, 0U);
  EXPECT_GT(new_states, 0U);
}

// The ring is full, and the reader stands at the oldest frame. A kernel overwrites it meanwhile.
TEST_F(NetbsdSteps, AFrameIsNeverReadWhileItIsOverwritten) {
  constexpr std::uint32_t kFrame = 1000;
  constexpr std::uint32_t kRecord = 24 + kFrame;
  constexpr std::uint32_t kRecords =
      kNetbsdDataBytes / kRecord;  // and a rest at the end, in the last one
  constexpr std::uint32_t kLastFrame = kNetbsdDataBytes - (kRecords - 1) * kRecord - 24;
  NetbsdReader reader;
  FrameBatch batch(2, 8192);
  NetbsdTally tally;
  NetbsdRead result = NetbsdRead::held;
  const auto begin_anew = [&] {
    header() = {kNetbsdMagic, 3, 1, 0, (kRecords - 1) * kRecord, 0, 0};
    for (const std::uint32_t each : {0U, 1U}) {
      put_header(each * kRecord, kFrame);
      put_frame(each * kRecord + 24, kFrame, static_cast<unsigned char>(each + 1));
    }
    put_header((kRecords - 1) * kRecord, kLastFrame);
    reader = NetbsdReader(ring_, nullptr, 0, false);
    reader.seek_oldest();
    batch.clear();
    tally = {};
  };
  for (std::uint32_t each = 2; each + 1 < kRecords; ++each) put_header(each * kRecord, kFrame);
  const auto take = [&] {
    header().lock = 1;
    header().last = 0;
    header().first = kRecord;
    put_header(0, kFrame);
    put_frame(24, kFrame / 2, 0xee);
  };
  const auto finish = [&] {
    put_frame(24 + kFrame / 2, kFrame / 2, 0xee);
    header().lock = 0;
  };
  // One frame: the walk stops at the next one.
  const auto body = [&] { result = reader.read(batch, 1, tally); };
  begin_anew();
  const std::size_t steps = stepper_.run(body, SIZE_MAX, {}, SIZE_MAX, {});
  ASSERT_EQ(batch.size(), 1U);
  std::size_t overruns = 0;
  std::size_t firsts = 0;
  for (std::size_t i = 0; i < steps; ++i) {
    for (std::size_t j = i; j < steps + 8; ++j) {
      begin_anew();
      stepper_.run(body, i, take, j, finish);
      ASSERT_EQ(tally.corrupt, 0U) << i << " and " << j;
      overruns += tally.overruns;
      if (batch.empty()) continue;
      const auto value = std::to_integer<unsigned>(batch[0].bytes[0]);
      ASSERT_TRUE(value == 1 || value == 2) << i << " and " << j << ": " << value;
      ASSERT_TRUE(std::ranges::all_of(
          batch[0].bytes, [&](std::byte each) { return std::to_integer<unsigned>(each) == value; }))
          << i << " and " << j;
      ASSERT_EQ(value == 2, tally.overruns == 1) << i << " and " << j;
      firsts += value == 1 ? 1 : 0;
    }
  }
  EXPECT_GT(overruns, 0U);
  EXPECT_GT(firsts, 0U);
}

// `repair --force` frees the lock of a stopped sender, and somebody else takes it. The sender goes
// on, finds that out before it makes its frame known, and then must not free the lock.
TEST_F(NetbsdSteps, ASenderWhoseLockWasFreedDoesNotSend) {
  const std::vector<std::byte> bytes(60, std::byte{0x11});
  const FrameView frame(bytes);
  std::error_code error;
  const auto begin_anew = [&] {
    header() = {kNetbsdMagic, 3, 4, 0, 24, 1, 0};
    put_header(24, 100);
  };
  const auto repair = [&] { header().generation += 2; };
  const auto body = [&] { error = netbsd_append(ring_, {&frame, 1}, 7, 1); };
  begin_anew();
  const std::size_t steps = stepper_.run(body, SIZE_MAX, {}, SIZE_MAX, {});
  ASSERT_FALSE(error) << error.message();
  std::size_t found_out = 0;
  for (std::size_t i = 0; i < steps; ++i) {
    begin_anew();
    stepper_.run(body, i, repair, SIZE_MAX, {});
    if (error != Errc::busy) continue;
    ++found_out;
    ASSERT_EQ(header().last, 24U) << i;
    ASSERT_EQ(header().generation, 6U) << i;
    ASSERT_EQ(header().lock, 1U) << i;
  }
  EXPECT_GT(found_out, 4U) << "of " << steps;
}

}  // namespace

void on_shared_access() noexcept {
  Stepper::step();
}

}  // namespace shmif::bus

// How long the lock of a NetBSD bus is waited for, by a clock of this program's own, which only
// sleeping moves.

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
