// When a bridge waits, and for whom: idle links, links in trouble, and sides that take nothing.

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "tap/expectation.hpp"
#include "tests/support/wake_means.hpp"
#include "tests/tap/bridge_rig.hpp"

namespace shmif::tap {
namespace {

using shmif::test::Bytes;
using shmif::test::collect;
using shmif::test::make_frame;
using std::chrono::milliseconds;
using test::LoopbackCable;
using test::Running;
using test::Script;
using test::scripted_link;
using test::send_all;

/// A link that always brings one more frame, if `brings_frames`. It takes frames only from the
/// `opens_at`th call of send() on.
class TirelessLink {
 public:
  TirelessLink(LoopbackLink link, bool brings_frames, unsigned opens_at,
               std::atomic<unsigned>& calls)
      : link_(std::move(link)), brings_(brings_frames), opens_at_(opens_at), calls_(calls) {}

  SendResult send(std::span<const FrameView> frames) noexcept {
    return ++calls_ < opens_at_ ? SendResult{} : link_.send(frames);
  }
  ReceiveResult receive(FrameBatch& into) noexcept {
    if (!brings_) return link_.receive(into);
    const std::span<std::byte> room = into.room();
    std::copy(frame_.begin(), frame_.end(), room.begin());
    into.push(FrameView(room.data(), frame_.size()));
    return {1, 0, {}};
  }
  int descriptor() noexcept { return link_.descriptor(); }
  WaitHint prepare_wait() noexcept { return {.ready = brings_}; }
  void finish_wait() noexcept {}
  std::size_t max_frame_bytes() noexcept { return link_.max_frame_bytes(); }
  std::string address() { return "tireless:"; }
  /// How long it waits for receivers, like a bus on which senders wait for slow ports.
  std::chrono::nanoseconds patience() noexcept { return std::chrono::minutes(1); }

 private:
  LoopbackLink link_;
  Bytes frame_ = make_frame(60, 1);
  bool brings_;
  unsigned opens_at_;
  std::atomic<unsigned>& calls_;
};

TEST(Bridge, WaitsForALinkAsLongAsThatWaitsItself) {
  auto ends = LoopbackLink::pair().value();
  std::atomic<unsigned> calls{0};
  AnyLink slow(std::make_unique<TirelessLink>(std::move(ends.first), false, 100, calls));
  LoopbackCable source;
  BridgeOptions options;
  options.patience = milliseconds(1);  // ends long before the link takes anything
  Bridge bridge = Bridge::create(options).value();
  ASSERT_TRUE(bridge.add(source.near, slow));
  Running running(bridge);
  send_all(source.far, {make_frame(60, 1)});
  EXPECT_EQ(collect(ends.second, 1), std::vector<Bytes>{make_frame(60, 1)});
  running.stop();
  EXPECT_EQ(bridge.counters(0).to_right.dropped_full, 0U);
}

/// A link for tests of the loop itself: what it answers is set by the test, calls are counted.
struct Puppet {
  std::atomic<bool> refuse{false};
  std::atomic<int> ready{0};  // so many times it says that there is no need to wait
  std::atomic<int> receive_errno{0};
  std::atomic<int> offer{0};  // frames still to be received from it
  std::atomic<int> sends{0}, receives{0}, waits{0}, finishes{0};
  UniqueFd event{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};
class PuppetLink {
 public:
  explicit PuppetLink(Puppet& p) : p_(p) {}
  SendResult send(std::span<const FrameView> frames) noexcept {
    ++p_.sends;
    return {p_.refuse ? 0 : frames.size(), {}};
  }
  ReceiveResult receive(FrameBatch& into) noexcept {
    ++p_.receives;
    ReceiveResult r;
    for (; p_.offer > 0 && !into.full(); --p_.offer, ++r.frames) {
      into.push(FrameView(into.room().data(), 60));
    }
    if (p_.receive_errno != 0)
      r.error = make_error_code(static_cast<Errc>(p_.receive_errno.load()));
    return r;
  }
  int descriptor() noexcept { return p_.event.get(); }
  WaitHint prepare_wait() noexcept {
    ++p_.waits;
    if (p_.ready > 0) {
      --p_.ready;
      return {.ready = true};
    }
    return {.ready = p_.receive_errno != 0};
  }
  void finish_wait() noexcept { ++p_.finishes; }
  std::size_t max_frame_bytes() noexcept { return kMaxFrameBytes; }
  std::string address() { return "puppet:"; }

 private:
  Puppet& p_;
};
static_assert(Link<PuppetLink>);

/// How often something that is due every `period` may have happened since `start`, generously; a
/// busy loop does it ten thousand times as often.
int often(std::chrono::steady_clock::time_point start, milliseconds period) {
  return 20 + 2 * static_cast<int>((std::chrono::steady_clock::now() - start) / period);
}

AnyLink puppet_link(Puppet& p) {
  return AnyLink(std::make_unique<PuppetLink>(p));
}

TEST(Bridge, SleepsWhenIdleAndPairsEveryPrepareWithAFinish) {
  Puppet a;
  Puppet b;
  AnyLink left = puppet_link(a);
  AnyLink right = puppet_link(b);
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(left, right));
  Running running(bridge);
  std::this_thread::sleep_for(milliseconds(100));
  running.stop();
  EXPECT_LE(a.waits, 2);
  EXPECT_LE(a.receives, 2);
  EXPECT_GE(a.waits, 1);
  EXPECT_EQ(a.waits, a.finishes);
  EXPECT_EQ(b.waits, b.finishes);
}

TEST(Bridge, APairThatCannotBeWatchedLeavesNothingBehind) {
  Puppet a;
  Puppet b;
  AnyLink left = puppet_link(a);
  AnyLink same = puppet_link(a);  // its descriptor cannot be watched a second time
  AnyLink right = puppet_link(b);
  Bridge bridge = Bridge::create().value();
  const auto refused = bridge.add(left, same);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, std::errc::file_exists);
  EXPECT_NE(refused.error().message.find("puppet:"), std::string::npos) << refused.error().message;
  EXPECT_EQ(bridge.add(left, right).value(), 0U);
  a.offer = 3;
  Running running(bridge);
  while (bridge.counters(0).to_right.frames < 3) std::this_thread::yield();
  running.stop();
  EXPECT_EQ(bridge.counters(0).to_left.received, 0U);
}

TEST(Bridge, ASideThatTakesNothingHoldsUpOnlyItsOwnDirection) {
  Puppet a;
  Puppet b;
  AnyLink left = puppet_link(a);
  AnyLink right = puppet_link(b);
  a.offer = 1000;
  ASSERT_EQ(::eventfd_write(a.event.get(), 1), 0);  // readable all the time, as a device is
  b.refuse = true;
  LoopbackCable c;
  LoopbackCable d;
  Bridge bridge = Bridge::create({.patience = std::chrono::hours(1)}).value();
  ASSERT_TRUE(bridge.add(left, right));
  ASSERT_TRUE(bridge.add(c.near, d.near));
  Running running(bridge);
  while (b.sends < 3) std::this_thread::yield();  // it is offered again
  send_all(c.far, {make_frame(60, 1)});
  EXPECT_EQ(collect(d.far, 1), std::vector<Bytes>{make_frame(60, 1)});
  const auto start = std::chrono::steady_clock::now();
  const int before = b.sends;
  std::this_thread::sleep_for(milliseconds(100));
  const int offers = b.sends - before;
  EXPECT_LE(offers, often(start, milliseconds(1)))
      << "offered again in measure, not in a busy loop";
  EXPECT_EQ(bridge.counters(0).to_right.dropped_full, 0U);
  b.refuse = false;
  while (bridge.counters(0).to_right.frames < 1000) std::this_thread::yield();
  running.stop();
}

/// A side that takes one frame at a time, and says that it has room again at once, or never.
class NarrowLink : public PuppetLink {
 public:
  explicit NarrowLink(Puppet& p, bool says_room = true) : PuppetLink(p), refuses_(p.refuse) {
    constexpr eventfd_t kFull = ~eventfd_t{0} - 1;  // so far, and no more, can it count
    if (!says_room) (void)::eventfd_write(room_.get(), kFull);
  }
  SendResult send(std::span<const FrameView> frames) noexcept {
    (void)PuppetLink::send(frames);
    full_ = refuses_ || !full_;
    return {full_ && !refuses_ ? 1U : 0U, {}};
  }
  int room_descriptor() noexcept { return room_.get(); }

 private:
  std::atomic<bool>& refuses_;
  bool full_ = false;
  UniqueFd room_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};  // polls as POLLOUT, unless it is full
};

TEST(Bridge, ASideThatSaysWhenItHasRoomIsNotOfferedFramesOnlyNowAndThen) {
  constexpr int kFrames = 1000;
  Puppet a;
  Puppet b;
  AnyLink left = puppet_link(a);
  AnyLink right(std::make_unique<NarrowLink>(b));
  ASSERT_EQ(::eventfd_write(a.event.get(), 1), 0);
  Bridge bridge = Bridge::create({.patience = std::chrono::hours(1)}).value();
  ASSERT_TRUE(bridge.add(left, right));
  // Offered again now and then, 1000 frames take a second. One quick round of some is enough: the
  // machine may be busy.
  bool quick = false;
  for (int round = 1; round <= 10 && !quick; ++round) {
    const auto start = std::chrono::steady_clock::now();
    a.offer = kFrames;
    Running running(bridge);
    while (bridge.counters(0).to_right.frames < std::uint64_t{kFrames} * round)
      std::this_thread::yield();
    quick = std::chrono::steady_clock::now() - start < milliseconds(400);
    running.stop();
  }
  EXPECT_TRUE(quick);
}

TEST(Bridge, ASideThatTakesNothingIsOfferedFramesNowAndThenWhateverItSaysOfItsRoom) {
  for (const bool says_room : {true, false}) {
    Puppet a;
    Puppet b;
    b.refuse = true;
    AnyLink left = puppet_link(a);
    AnyLink right(std::make_unique<NarrowLink>(b, says_room));
    a.offer = 10;
    Bridge bridge = Bridge::create({.patience = std::chrono::hours(1)}).value();
    ASSERT_TRUE(bridge.add(left, right));
    Running running(bridge);
    while (b.sends < 3) std::this_thread::yield();  // it is offered again
    const auto start = std::chrono::steady_clock::now();
    const int before = b.sends;
    std::this_thread::sleep_for(milliseconds(100));
    const int offers = b.sends - before;
    EXPECT_LE(offers, often(start, milliseconds(1))) << "the loop spins";
    b.refuse = false;
    while (bridge.counters(0).to_right.frames < 10) std::this_thread::yield();
    running.stop();
  }
}

TEST(Bridge, DropsWhatIsRefusedForTooLong) {
  LoopbackCable a;
  Puppet b;
  b.refuse = true;
  AnyLink right = puppet_link(b);
  Bridge bridge = Bridge::create({.patience = milliseconds(5)}).value();
  ASSERT_TRUE(bridge.add(a.near, right));
  Running running(bridge);
  send_all(a.far, {make_frame(60, 1), make_frame(60, 2)});
  while (bridge.counters(0).to_right.dropped_full < 2) std::this_thread::yield();
  b.refuse = false;
  send_all(a.far, {make_frame(60, 3)});
  while (bridge.counters(0).to_right.frames < 1) std::this_thread::yield();
  running.stop();
  EXPECT_EQ(bridge.counters(0).to_right.dropped_full, 2U);
}

TEST(Bridge, ALinkInPassingTroubleIsAskedAgainInMeasure) {
  LoopbackCable a;
  Puppet b;
  b.receive_errno = static_cast<int>(Errc::corrupt);
  ASSERT_EQ(::eventfd_write(b.event.get(), 1), 0);  // readable all the time
  AnyLink right = puppet_link(b);
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(a.near, right));
  const auto start = std::chrono::steady_clock::now();
  Running running(bridge);
  std::this_thread::sleep_for(milliseconds(200));
  for (int i = 1; i <= 500; ++i) {  // traffic the other way does not bring it on either
    send_all(a.far, {make_frame(60, 3)});
    while (b.sends < i) std::this_thread::yield();
  }
  const int receives = b.receives;
  EXPECT_LE(receives, often(start, milliseconds(50)));
  b.receive_errno = static_cast<int>(Errc::bus_lost);
  const BridgeEnd end = running.wait();
  EXPECT_EQ(end.error, Errc::bus_lost);
  EXPECT_EQ(end.address, "puppet:");
}

TEST(Bridge, ALinkInPassingTroubleDoesNotMakeTheLoopSpinThoughItHasSomethingToRead) {
  Puppet a;
  Puppet b;
  b.receive_errno = static_cast<int>(Errc::corrupt);
  ASSERT_EQ(::eventfd_write(b.event.get(), 1), 0);
  AnyLink left = puppet_link(a);
  AnyLink right = puppet_link(b);
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(left, right));
  const auto start = std::chrono::steady_clock::now();
  Running running(bridge);
  while (b.receives < 3) std::this_thread::sleep_for(milliseconds(1));
  const int turns = a.waits;
  EXPECT_LE(turns, often(start, milliseconds(50)));
  running.stop();
}

/// Asks to be looked at again after `at_most`, and ends at the third look.
class HastyLink {
 public:
  HastyLink(unsigned& waits, std::chrono::nanoseconds at_most) : waits_(waits), at_most_(at_most) {}
  SendResult send(std::span<const FrameView> frames) noexcept { return {frames.size(), {}}; }
  ReceiveResult receive(FrameBatch&) noexcept {
    ReceiveResult result;
    // In vain: an end that no look brought about.
    if (++looks_ == 3 || waits_ > 1000) result.error = make_error_code(Errc::link_ended);
    return result;
  }
  int descriptor() noexcept { return -1; }
  WaitHint prepare_wait() noexcept {
    ++waits_;
    return {.ready = waits_ > 1000, .at_most = at_most_};
  }
  void finish_wait() noexcept {}
  std::size_t max_frame_bytes() noexcept { return kMaxFrameBytes; }
  std::string address() { return "hasty:"; }

 private:
  unsigned& waits_;
  std::chrono::nanoseconds at_most_;
  unsigned looks_ = 0;
};

/// epoll_pwait2() is not on kernels before 5.11, and some sandboxes forbid it.
TEST(Bridge, SleepsAsLongAsALinkAskedAlsoWhereTheKernelCountsOnlyMilliseconds) {
  for (const int error : {ENOSYS, EPERM}) {
    std::thread without([error] {
      ASSERT_TRUE(shmif::test::forbid(SCMP_SYS(epoll_pwait2), error));
      const UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
      epoll_event event{};
      const timespec none{};
      ASSERT_EQ(::epoll_pwait2(epoll.get(), &event, 1, &none, nullptr), -1);
      ASSERT_EQ(errno, error);

      constexpr std::chrono::microseconds kAtMost{2500};
      unsigned waits = 0;
      AnyLink hasty(std::make_unique<HastyLink>(waits, kAtMost));
      Script silent;
      silent.ask_again = std::chrono::hours(1);
      AnyLink other = scripted_link(silent);
      Bridge bridge = Bridge::create().value();
      ASSERT_TRUE(bridge.add(hasty, other));
      const auto begun = std::chrono::steady_clock::now();
      EXPECT_EQ(bridge.run().error, Errc::link_ended);
      EXPECT_LE(waits, 3U) << "it did not sleep, or not look";
      EXPECT_GE(std::chrono::steady_clock::now() - begun, 2 * kAtMost) << "it slept less";
    });
    without.join();
  }
}

}  // namespace
}  // namespace shmif::tap

namespace shmif::tap::test {
namespace {

/// How many occasions it lets pass before it looks again; more than it may: `max`.
unsigned skipped(Expectation& expectation, unsigned max = 2 * Expectation::kMaxSkipped) {
  unsigned count = 0;
  while (count < max && !expectation.is_worth_a_look()) ++count;
  return count;
}

TEST(Expectation, LooksAtEachOccasionWhileAnswersCome) {
  Expectation expectation;
  for (unsigned i = 0; i < 10; ++i) {
    EXPECT_EQ(skipped(expectation), 0U) << i;
    expectation.learn(true);
  }
}

TEST(Expectation, LooksMoreSeldomEachTimeThatNoneCameButNeverGivesUp) {
  Expectation expectation;
  EXPECT_EQ(skipped(expectation), 0U);
  for (const unsigned expected : {1U, 2U, 4U, 8U, 16U, 32U, 64U, 128U, 256U, 256U, 256U}) {
    expectation.learn(false);
    EXPECT_EQ(skipped(expectation), expected);
  }
}

TEST(Expectation, OneAnswerMakesUpForAllThatDidNotCome) {
  Expectation expectation;
  for (unsigned i = 0; i < 20; ++i) {
    expectation.learn(false);
    skipped(expectation);
  }
  expectation.learn(true);
  EXPECT_EQ(skipped(expectation), 0U);
  expectation.learn(false);
  EXPECT_EQ(skipped(expectation), 1U);
}

}  // namespace
}  // namespace shmif::tap::test
