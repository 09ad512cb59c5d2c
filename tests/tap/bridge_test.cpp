#include "tap/bridge.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/loopback_link.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/tap/bridge_rig.hpp"

namespace shmif::tap {
namespace {

using shmif::test::Bytes;
using shmif::test::collect;
using shmif::test::make_frame;
using shmif::test::views;
using std::chrono::milliseconds;
using test::frames_into;
using test::Script;
using test::scripted_link;

/// A cable whose far end the test holds; the near end is for the bridge.
struct Cable {
  explicit Cable(const LoopbackOptions& options = {})
      : Cable(LoopbackLink::pair(options).value()) {}
  AnyLink near;
  LoopbackLink far;

 private:
  explicit Cable(std::pair<LoopbackLink, LoopbackLink> ends)
      : near(std::make_unique<LoopbackLink>(std::move(ends.first))), far(std::move(ends.second)) {}
};

/// Runs a bridge in a thread until it goes.
class Running {
 public:
  explicit Running(Bridge& bridge, int stop_descriptor = -1)
      : bridge_(bridge),
        thread_([this, stop_descriptor] { end_ = bridge_.run(stop_descriptor); }) {}
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() { stop(); }
  BridgeEnd stop() {
    if (thread_.joinable()) bridge_.stop();
    return wait();
  }
  BridgeEnd wait() {
    if (thread_.joinable()) thread_.join();
    return end_;
  }

 private:
  Bridge& bridge_;
  BridgeEnd end_;
  std::thread thread_;
};

void send_all(LoopbackLink& link, const std::vector<Bytes>& frames) {
  const auto out = views(frames);
  ASSERT_EQ(link.send(out).taken, out.size());
}

TEST(Bridge, CarriesBothWaysInOrderAndEchoesNothing) {
  Cable a;
  Cable b;
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(a.near, b.near));
  Running running(bridge);
  std::vector<Bytes> there;
  std::vector<Bytes> back;
  for (std::uint64_t i = 0; i < 500; ++i) there.push_back(make_frame(60 + i, i));
  for (std::uint64_t i = 0; i < 300; ++i) back.push_back(make_frame(1000 + i, 1000 + i));
  send_all(a.far, there);
  send_all(b.far, back);
  EXPECT_TRUE(shmif::test::same_frames(there, collect(b.far, there.size())));
  EXPECT_TRUE(shmif::test::same_frames(back, collect(a.far, back.size())));
  running.stop();
  FrameBatch batch;
  EXPECT_EQ(a.far.receive(batch).frames, 0U);
  EXPECT_EQ(b.far.receive(batch).frames, 0U);
  const PairCounters c = bridge.counters(0);
  EXPECT_EQ(c.to_right.frames, there.size());
  EXPECT_EQ(c.to_left.frames, back.size());
  std::uint64_t bytes = 0;
  for (const Bytes& f : there) bytes += f.size();
  EXPECT_EQ(c.to_right.bytes, bytes);
}

/// A link whose receive() fails while it is told to, like that of a bus that needs a repair. Each
/// failure also reports lost frames.
class TroubledLink {
 public:
  struct Told {
    std::atomic<bool> fails{true};
    std::atomic<unsigned> failures{0};
  };
  TroubledLink(LoopbackLink link, Told& told) : link_(std::move(link)), told_(told) {}

  SendResult send(std::span<const FrameView> frames) noexcept { return link_.send(frames); }
  ReceiveResult receive(FrameBatch& into) noexcept {
    if (told_.fails) {
      ++told_.failures;
      return {0, 7, Errc::corrupt};
    }
    return link_.receive(into);
  }
  int descriptor() noexcept { return link_.descriptor(); }
  WaitHint prepare_wait() noexcept { return link_.prepare_wait(); }
  void finish_wait() noexcept { link_.finish_wait(); }
  std::size_t max_frame_bytes() noexcept { return link_.max_frame_bytes(); }
  std::string address() { return "troubled:"; }

 private:
  LoopbackLink link_;
  Told& told_;
};

TEST(Bridge, TellsOfEachTroubleOnceAndOnceOfItsEndAndGoesOn) {
  auto ends = LoopbackLink::pair().value();
  TroubledLink::Told told;
  AnyLink troubled(std::make_unique<TroubledLink>(std::move(ends.first), told));
  Cable sound;
  std::vector<std::string> heard;  // the loop's thread writes it until that thread has ended
  BridgeOptions options;
  options.on_trouble = [&](AnyLink& link, std::error_code error) {
    heard.push_back(link.address() + (error ? error.message() : ""));
  };
  Bridge bridge = Bridge::create(options).value();
  ASSERT_TRUE(bridge.add(troubled, sound.near));
  Running running(bridge);
  std::vector<std::string> expected;
  for (std::uint64_t trouble = 0; trouble < 3; ++trouble) {
    const unsigned before = told.failures;
    told.fails = true;
    send_all(ends.second, {make_frame(60, trouble)});  // wakes the loop
    while (told.failures < before + 2) std::this_thread::yield();
    told.fails = false;
    EXPECT_EQ(collect(sound.far, 1), std::vector<Bytes>{make_frame(60, trouble)});
    expected.push_back("troubled:" + make_error_code(Errc::corrupt).message());
    expected.emplace_back("troubled:");
  }
  running.stop();
  EXPECT_EQ(heard, expected);
  EXPECT_EQ(bridge.counters(0).to_right.lost, 7U * told.failures);
}

TEST(Bridge, KeepsManyPairsApart) {
  constexpr std::size_t kPairs = 20;
  std::vector<std::unique_ptr<Cable>> left;
  std::vector<std::unique_ptr<Cable>> right;
  Bridge bridge = Bridge::create().value();
  for (std::size_t i = 0; i < kPairs; ++i) {
    left.push_back(std::make_unique<Cable>());
    right.push_back(std::make_unique<Cable>());
    const auto number = bridge.add(left[i]->near, right[i]->near);
    ASSERT_TRUE(number);
    EXPECT_EQ(*number, i);
  }
  Running running(bridge);
  for (std::size_t i = 0; i < kPairs; ++i) {
    send_all(left[i]->far, {make_frame(60 + i, i)});
    send_all(right[i]->far, {make_frame(160 + i, 100 + i)});
  }
  for (std::size_t i = 0; i < kPairs; ++i) {
    EXPECT_EQ(collect(right[i]->far, 1), std::vector<Bytes>{make_frame(60 + i, i)});
    EXPECT_EQ(collect(left[i]->far, 1), std::vector<Bytes>{make_frame(160 + i, 100 + i)});
  }
  running.stop();
  for (std::size_t i = 0; i < kPairs; ++i) {
    EXPECT_EQ(bridge.counters(i).to_right.bytes, 60 + i);
    EXPECT_EQ(bridge.counters(i).to_left.bytes, 160 + i);
  }
}

TEST(Bridge, DropsAndCountsOnlyTheFramesTheOtherSideIsTooSmallFor) {
  Cable jumbo({.max_frame_bytes = 9022});
  Cable small;
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(jumbo.near, small.near));
  Running running(bridge);
  send_all(jumbo.far, {make_frame(60, 1), make_frame(9000, 2), make_frame(61, 3),
                       make_frame(2000, 4), make_frame(62, 5)});
  EXPECT_TRUE(shmif::test::same_frames({make_frame(60, 1), make_frame(61, 3), make_frame(62, 5)},
                                       collect(small.far, 3)));
  running.stop();
  EXPECT_EQ(bridge.counters(0).to_right.dropped_too_long, 2U);
  EXPECT_EQ(bridge.counters(0).to_right.frames, 3U);
}

TEST(Bridge, InterceptorConsumesAndAnswersInItsDirectionOnly) {
  Cable device;
  Cable bus;
  Bridge bridge = Bridge::create().value();
  const Bytes answer = make_frame(77, 7);
  // Toward the device (left), frames of 100 bytes are questions.
  const Interceptor answering = [&](const FrameView& frame, AnyLink& back) {
    if (frame.size() != 100) return false;
    const FrameView view(answer.data(), answer.size());
    EXPECT_EQ(back.send({&view, 1}).taken, 1U);
    return true;
  };
  ASSERT_TRUE(bridge.add(device.near, bus.near, {}, answering));
  Running running(bridge);
  send_all(bus.far, {make_frame(60, 1), make_frame(100, 2), make_frame(61, 3)});
  EXPECT_TRUE(
      shmif::test::same_frames({make_frame(60, 1), make_frame(61, 3)}, collect(device.far, 2)));
  EXPECT_EQ(collect(bus.far, 1), std::vector<Bytes>{answer});
  send_all(device.far, {make_frame(100, 4)});
  EXPECT_EQ(collect(bus.far, 1), std::vector<Bytes>{make_frame(100, 4)});
  running.stop();
  EXPECT_EQ(bridge.counters(0).to_left.consumed, 1U);
  EXPECT_EQ(bridge.counters(0).to_right.consumed, 0U);
}

TEST(Bridge, SaysWhichLinkEndedAfterPassingOnWhatItHadSent) {
  Cable a;
  Cable b;
  Cable c;
  Cable d;
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(a.near, b.near));
  ASSERT_TRUE(bridge.add(c.near, d.near));
  std::vector<Bytes> last;
  for (std::uint64_t i = 0; i < 200; ++i) last.push_back(make_frame(60, i));
  send_all(d.far, last);
  d.far.close();
  const BridgeEnd end = bridge.run();
  EXPECT_EQ(end.why, BridgeEnd::Why::link_ended);
  EXPECT_EQ(end.pair, 1U);
  EXPECT_EQ(end.address, "loopback:");
  EXPECT_EQ(end.error, Errc::link_ended);
  EXPECT_TRUE(shmif::test::same_frames(last, collect(c.far, last.size())));
}

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

TEST(Bridge, StopsThoughALinkNeverRunsDry) {
  auto ends = LoopbackLink::pair().value();
  std::atomic<unsigned> calls{0};
  AnyLink tireless(std::make_unique<TirelessLink>(std::move(ends.first), true, 0, calls));
  Cable other;
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(tireless, other.near));
  Running running(bridge);
  EXPECT_FALSE(collect(other.far, 1000).empty());
  EXPECT_EQ(running.stop().why, BridgeEnd::Why::stopped);
}

TEST(Bridge, WaitsForALinkAsLongAsThatWaitsItself) {
  auto ends = LoopbackLink::pair().value();
  std::atomic<unsigned> calls{0};
  AnyLink slow(std::make_unique<TirelessLink>(std::move(ends.first), false, 100, calls));
  Cable source;
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

/// Brings one super-frame. Its descriptor is that of a regular file, which epoll cannot watch.
class FileWithASuperFrame {
 public:
  static constexpr std::size_t kPayload = 2500;
  SendResult send(std::span<const FrameView> frames) noexcept { return {frames.size(), {}}; }
  ReceiveResult receive(FrameBatch& into) noexcept {
    if (std::exchange(over_, true)) return {};
    const std::span<std::byte> room = into.room();
    std::copy(bytes_.begin(), bytes_.end(), room.begin());
    FrameView frame(room.data(), bytes_.size());
    frame.offload = shmif::test::header_for(shape_, 1000);
    into.push(frame);
    return {1, 0, {}};
  }
  int descriptor() noexcept { return file_.get(); }
  WaitHint prepare_wait() noexcept { return {.ready = false, .at_most = milliseconds(1)}; }
  void finish_wait() noexcept {}
  std::size_t max_frame_bytes() noexcept { return kMaxFrameBytes; }
  std::string address() { return "file:"; }

 private:
  shmif::test::Shape shape_;
  Bytes bytes_ = shmif::test::build(shape_, kPayload, 1);
  UniqueFd file_{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
  bool over_ = false;
};

TEST(Bridge, CountsASuperFrameAsTheFramesThatItStandsForAlsoFromALinkThatCannotBePolled) {
  AnyLink file(std::make_unique<FileWithASuperFrame>());
  Cable other({.max_frame_bytes = 9022});
  Bridge bridge = Bridge::create().value();
  const auto added = bridge.add(file, other.near);
  ASSERT_TRUE(added) << added.error().message;
  Running running(bridge);
  FrameBatch batch;
  while (other.far.receive(batch).frames == 0) std::this_thread::yield();
  running.stop();
  EXPECT_EQ(bridge.counters(0).to_right.frames, 1U);
  EXPECT_EQ(bridge.counters(0).to_right.segments, 3U);
}

TEST(Bridge, StopsOnItsStopDescriptorOnStopAndOnAWatchThatSaysSo) {
  Cable a;
  Cable b;
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(a.near, b.near));
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  {
    Running running(bridge, event.get());
    std::this_thread::sleep_for(milliseconds(5));
    ASSERT_EQ(::eventfd_write(event.get(), 1), 0);
    EXPECT_EQ(running.wait().why, BridgeEnd::Why::stopped);
  }
  eventfd_t count = 0;
  ASSERT_EQ(::eventfd_read(event.get(), &count), 0);
  {
    Running running(bridge, event.get());
    const BridgeEnd again = running.stop();
    EXPECT_EQ(again.why, BridgeEnd::Why::stopped);
    EXPECT_FALSE(again.error) << again.error.message();
  }
  const UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(bridge.run(file.get()).error, std::errc::operation_not_permitted);
  bridge.stop();  // before run: counts for the next
  EXPECT_EQ(bridge.run().why, BridgeEnd::Why::stopped);
  // And for the next only: a later one goes on until it is told.
  const UniqueFd again(::eventfd(1, EFD_CLOEXEC));
  int looks = 0;
  ASSERT_TRUE(bridge.watch(again.get(), [&] {
    eventfd_t n = 0;
    (void)::eventfd_read(again.get(), &n);
    if (++looks < 3) (void)::eventfd_write(again.get(), 1);
    return looks < 3;
  }));
  EXPECT_EQ(bridge.run().why, BridgeEnd::Why::stopped);
  EXPECT_EQ(looks, 3);
  int calls = 0;
  ASSERT_TRUE(bridge.watch(event.get(), [&] {
    eventfd_t n = 0;
    (void)::eventfd_read(event.get(), &n);
    return ++calls < 3;
  }));
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(::eventfd_write(event.get(), 1), 0);
    Running running(bridge);
    std::this_thread::sleep_for(milliseconds(5));
  }
  ASSERT_EQ(::eventfd_write(event.get(), 1), 0);
  EXPECT_EQ(bridge.run().why, BridgeEnd::Why::stopped);
  EXPECT_EQ(calls, 3);
  EXPECT_FALSE(bridge.watch(-1, [] { return true; }));
}

TEST(Bridge, StopsWhileTrafficNeverPauses) {
  Cable a;
  Cable b;
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(a.near, b.near));
  Running running(bridge);
  std::atomic<bool> go_on{true};
  std::thread flood([&] {
    const Bytes frame = make_frame(60, 1);
    const std::vector<FrameView> many(64, FrameView(frame.data(), frame.size()));
    while (go_on) (void)a.far.send(many);
  });
  (void)collect(b.far, 1000);
  EXPECT_EQ(running.stop().why, BridgeEnd::Why::stopped);
  go_on = false;
  flood.join();
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

TEST(Bridge, PairsEveryPrepareWithAFinishAlsoWhereItNeedNotWait) {
  Puppet a;
  Puppet b;
  AnyLink left = puppet_link(a);
  AnyLink right = puppet_link(b);
  a.ready = 3;
  b.ready = 3;
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(left, right));
  Running running(bridge);
  while (a.ready > 0 || b.ready > 0) std::this_thread::yield();
  running.stop();
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
  Cable c;
  Cable d;
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

TEST(Bridge, DropsWhatIsRefusedForTooLong) {
  Cable a;
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
  Cable a;
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

TEST(Bridge, CountsWhatEachSideLostByThatSide) {
  Script a;
  Script b;
  a.receive = [calls = 0](FrameBatch& into) mutable {
    ReceiveResult result = ++calls == 1 ? frames_into(into, 2) : ReceiveResult{};
    if (calls <= 2) result.lost = calls == 1 ? 7 : 10;  // once with frames, once without
    return result;
  };
  b.receive = [calls = 0](FrameBatch&) mutable {
    ReceiveResult result;
    if (++calls == 2) result.lost = 5;
    if (calls == 4) {
      result.lost = 6;  // reported together with the end
      result.error = make_error_code(Errc::link_ended);
    }
    return result;
  };
  AnyLink left = scripted_link(a);
  AnyLink right = scripted_link(b);
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(left, right));
  EXPECT_EQ(bridge.run().error, Errc::link_ended);
  EXPECT_EQ(bridge.counters(0).to_right.lost, 17U);
  EXPECT_EQ(bridge.counters(0).to_left.lost, 11U);
  EXPECT_EQ(bridge.counters(0).to_right.received, 2U);
  EXPECT_EQ(bridge.counters(0).to_right.frames, 2U);
}

/// A link that takes no frames until `willing` is true. `asked`: somebody has tried to send.
struct Reluctant : Script {
  explicit Reluctant(const bool& willing) {
    send = [this, &willing](std::span<const FrameView> frames) {
      asked = true;
      return SendResult{willing ? frames.size() : 0, {}};
    };
  }
  bool asked = false;
};

TEST(Bridge, FramesThatWaitForASlowSideStillGoWhenAnotherPairEnds) {
  bool has_ended = false;
  Script source;
  source.receive = [given = false](FrameBatch& into) mutable {
    return std::exchange(given, true) ? ReceiveResult{} : frames_into(into, 3);
  };
  Reluctant sink(has_ended);
  Script ends;
  ends.receive = [&](FrameBatch&) {
    has_ended = sink.asked;  // by now the frames wait for the sink
    ReceiveResult result;
    if (has_ended) result.error = make_error_code(Errc::link_ended);
    return result;
  };
  Script silent;
  AnyLink a = scripted_link(source);
  AnyLink b = scripted_link(sink);
  AnyLink c = scripted_link(ends);
  AnyLink d = scripted_link(silent);
  Bridge bridge = Bridge::create({.patience = std::chrono::hours(1)}).value();
  ASSERT_TRUE(bridge.add(a, b));
  ASSERT_TRUE(bridge.add(c, d));
  EXPECT_EQ(bridge.run().pair, 1U);
  EXPECT_EQ(bridge.counters(0).to_right.frames, 3U);
  EXPECT_EQ(bridge.counters(0).to_right.dropped_full, 0U);
}

TEST(Bridge, TheLastFramesOfALinkThatEndsStillGoToASlowSide) {
  Script sink;
  Script source;
  source.receive = [](FrameBatch& into) {
    ReceiveResult result = frames_into(into, 3);
    result.error = make_error_code(Errc::link_ended);
    return result;
  };
  sink.send = [calls = 0](std::span<const FrameView> frames) mutable {
    return SendResult{++calls > 2 ? frames.size() : 0, {}};  // refuses twice
  };
  AnyLink a = scripted_link(source);
  AnyLink b = scripted_link(sink);
  Bridge bridge = Bridge::create({.patience = std::chrono::hours(1)}).value();
  ASSERT_TRUE(bridge.add(a, b));
  EXPECT_EQ(bridge.run().error, Errc::link_ended);
  EXPECT_EQ(bridge.counters(0).to_right.frames, 3U);
  EXPECT_EQ(bridge.counters(0).to_right.dropped_full, 0U);
}

TEST(Bridge, ASideThatNeverTakesThemDoesNotHoldUpTheEndForEver) {
  Script source;
  source.receive = [](FrameBatch& into) {
    ReceiveResult result = frames_into(into, 3);
    result.error = make_error_code(Errc::link_ended);
    return result;
  };
  const bool never = false;
  Reluctant sink(never);
  AnyLink a = scripted_link(source);
  AnyLink b = scripted_link(sink);
  Bridge bridge = Bridge::create({.patience = milliseconds(5)}).value();
  ASSERT_TRUE(bridge.add(a, b));
  EXPECT_EQ(bridge.run().error, Errc::link_ended);
  EXPECT_EQ(bridge.counters(0).to_right.frames, 0U);
  EXPECT_EQ(bridge.counters(0).to_right.dropped_full, 3U) << "and counted";
}

/// Brings `batches` one after the other, then the end.
struct BringsBatches : Script {
  explicit BringsBatches(std::vector<std::vector<std::size_t>> batches) {
    receive = [all = std::move(batches), next = std::size_t{0}](FrameBatch& into) mutable {
      ReceiveResult result;
      if (next == all.size()) result.error = make_error_code(Errc::link_ended);
      if (result.error) return result;
      for (const std::size_t size : all[next]) {
        into.push(FrameView(into.room().data(), size));
        ++result.frames;
      }
      ++next;
      return result;
    };
  }
};

/// Takes at most two frames at a time. A frame longer than 2000 bytes is too long for it, and one
/// of 64 bytes it refuses.
struct Picky : Script {
  Picky() {
    send = [this](std::span<const FrameView> frames) {
      SendResult result;
      for (const FrameView& f : frames.first(std::min<std::size_t>(2, frames.size()))) {
        if (f.size() > 2000) result.error = make_error_code(Errc::frame_too_long);
        if (f.size() == 64) result.error = make_error_code(Errc::port_down);
        if (result.error) break;
        taken.push_back(f.size());
        ++result.taken;
      }
      return result;
    };
  }
  std::vector<std::size_t> taken;
};

TEST(Bridge, EachFrameIsInOneCounterOfItsDirectionAndAllButThoseThatAreDroppedArrive) {
  for (const bool to_right : {true, false}) {
    SCOPED_TRACE(to_right ? "to the right" : "to the left");
    BringsBatches source({{60, 61, 62, 3000, 64, 65}, {66, 64, 62, 67}, {64, 4000}, {68}});
    Picky sink;
    AnyLink from = scripted_link(source);
    AnyLink to = scripted_link(sink);
    std::vector<std::size_t> too_long;
    unsigned troubles = 0;
    BridgeOptions options;
    options.on_too_long = [&](const FrameView& frame, AnyLink& where_from, AnyLink& where_to) {
      too_long.push_back(frame.size());
      EXPECT_EQ(&where_from, &from);
      EXPECT_EQ(&where_to, &to);
    };
    options.on_trouble = [&](AnyLink&, std::error_code) { ++troubles; };
    const Interceptor consumes = [](const FrameView& frame, AnyLink&) {
      return frame.size() == 62;
    };
    Bridge bridge = Bridge::create(options).value();
    if (to_right) {
      ASSERT_TRUE(bridge.add(from, to, consumes, {}));
    } else {
      ASSERT_TRUE(bridge.add(to, from, {}, consumes));
    }
    EXPECT_EQ(bridge.run().error, Errc::link_ended);
    EXPECT_EQ(sink.taken, (std::vector<std::size_t>{60, 61, 65, 66, 67, 68}));
    EXPECT_EQ(too_long, (std::vector<std::size_t>{3000, 4000}));
    EXPECT_EQ(troubles, 0U) << "an end is none";
    const PairCounters both = bridge.counters(0);
    const DirectionCounters& c = to_right ? both.to_right : both.to_left;
    EXPECT_EQ(c.received, 13U);
    EXPECT_EQ(c.batches, 4U);
    EXPECT_EQ(c.frames, 6U);
    EXPECT_EQ(c.segments, 6U);
    EXPECT_EQ(c.bytes, 60U + 61 + 65 + 66 + 67 + 68);
    EXPECT_EQ(c.consumed, 2U);
    EXPECT_EQ(c.dropped_too_long, 2U);
    EXPECT_EQ(c.dropped_error, 3U);
    EXPECT_EQ(c.dropped_full, 0U);
    EXPECT_EQ(c.lost, 0U);
    const DirectionCounters& other = to_right ? both.to_left : both.to_right;
    EXPECT_EQ(other.received + other.batches + other.frames + other.bytes + other.consumed, 0U);
  }
}

TEST(Bridge, OfTwoLinksThatEndTogetherTheFirstIsNamed) {
  Script source;
  source.receive = [](FrameBatch& into) {
    ReceiveResult result = frames_into(into, 3);
    result.error = make_error_code(Errc::link_ended);
    return result;
  };
  Script sink;
  sink.send = [](std::span<const FrameView>) {
    return SendResult{1, make_error_code(Errc::bus_lost)};
  };
  AnyLink left = scripted_link(source);
  AnyLink right = scripted_link(sink);
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(left, right));
  EXPECT_EQ(bridge.run().error, Errc::bus_lost);
  EXPECT_EQ(bridge.counters(0).to_right.frames, 1U) << "what it took before it ended";
}

/// Asks to be looked at again after a microsecond, and ends at the third look.
class HastyLink {
 public:
  explicit HastyLink(unsigned& waits) : waits_(waits) {}
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
    return {.ready = waits_ > 1000, .at_most = std::chrono::microseconds(1)};
  }
  void finish_wait() noexcept {}
  std::size_t max_frame_bytes() noexcept { return kMaxFrameBytes; }
  std::string address() { return "hasty:"; }

 private:
  unsigned& waits_;
  unsigned looks_ = 0;
};

TEST(Bridge, SleepsAndLooksAgainWhereALinkAsksForLessThanAMillisecond) {
  unsigned waits = 0;
  AnyLink hasty(std::make_unique<HastyLink>(waits));
  Script silent;
  AnyLink other = scripted_link(silent);
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(hasty, other));
  EXPECT_EQ(bridge.run().error, Errc::link_ended);
  EXPECT_LE(waits, 3U) << "it did not sleep, or not look";
}

TEST(Bridge, RefusesOptionsThatMeanNothing) {
  EXPECT_EQ(Bridge::create({.batch_frames = 0}).error().code, Errc::bad_argument);
  EXPECT_EQ(Bridge::create({.patience = milliseconds(-1)}).error().code, Errc::bad_argument);
}

}  // namespace
}  // namespace shmif::tap
