// What a bridge carries, and when it stops.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/tap/bridge_rig.hpp"

namespace shmif::tap {
namespace {

using shmif::test::Bytes;
using shmif::test::collect;
using shmif::test::make_frame;
using std::chrono::milliseconds;
using test::frames_into;
using test::LoopbackCable;
using test::Running;
using test::Script;
using test::scripted_link;
using test::send_all;

TEST(Bridge, CarriesBothWaysInOrderAndEchoesNothing) {
  LoopbackCable a;
  LoopbackCable b;
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
  LoopbackCable sound;
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
  std::vector<std::unique_ptr<LoopbackCable>> left;
  std::vector<std::unique_ptr<LoopbackCable>> right;
  Bridge bridge = Bridge::create().value();
  for (std::size_t i = 0; i < kPairs; ++i) {
    left.push_back(std::make_unique<LoopbackCable>());
    right.push_back(std::make_unique<LoopbackCable>());
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

TEST(Bridge, InterceptorConsumesAndAnswersInItsDirectionOnly) {
  LoopbackCable device;
  LoopbackCable bus;
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
  LoopbackCable a;
  LoopbackCable b;
  LoopbackCable c;
  LoopbackCable d;
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
  LoopbackCable other({.max_frame_bytes = 9022});
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
  LoopbackCable a;
  LoopbackCable b;
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

TEST(Bridge, PassesOnWhatWasThereWhenItWasToldToStop) {
  constexpr std::size_t kFrames = 4000;  // more than it carries between two looks
  LoopbackCable a({.queue_frames = kFrames, .queue_bytes = 8U << 20U});
  LoopbackCable b({.queue_frames = kFrames, .queue_bytes = 8U << 20U});
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(a.near, b.near));
  std::vector<Bytes> there, back;
  for (std::size_t i = 0; i < kFrames; ++i) {
    there.push_back(make_frame(60, i));
    back.push_back(make_frame(61, i));
  }
  send_all(a.far, there);
  send_all(b.far, back);
  bridge.stop();
  EXPECT_EQ(bridge.run().why, BridgeEnd::Why::stopped);
  EXPECT_TRUE(shmif::test::same_frames(there, collect(b.far, kFrames)));
  EXPECT_TRUE(shmif::test::same_frames(back, collect(a.far, kFrames)));
  EXPECT_EQ(bridge.counters(0).to_right.frames, kFrames);
  EXPECT_EQ(bridge.counters(0).to_left.frames, kFrames);
}

TEST(Bridge, StopsWhileTrafficNeverPauses) {
  LoopbackCable a;
  LoopbackCable b;
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

TEST(Bridge, RefusesOptionsThatMeanNothing) {
  EXPECT_EQ(Bridge::create({.batch_frames = 0}).error().code, Errc::bad_argument);
  EXPECT_EQ(Bridge::create({.patience = milliseconds(-1)}).error().code, Errc::bad_argument);
}

// What becomes of each frame: it is counted once, and the last frames before an end still go. And
// which side something is of, in both directions: the sizes of batches, the link that ended.

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

/// Adds `from` and `to` as the left and the right link, or the other way round.
void add_pair(Bridge& bridge, AnyLink& from, AnyLink& to, bool to_right) {
  ASSERT_TRUE(to_right ? bridge.add(from, to) : bridge.add(to, from));
}

DirectionCounters counters_of(const Bridge& bridge, bool to_right) {
  const PairCounters both = bridge.counters(0);
  return to_right ? both.to_right : both.to_left;
}

TEST(BridgeOptions, NoBatchIsLargerThanWasAskedForInEitherDirection) {
  for (const std::size_t max : {1U, 3U, 100U}) {
    for (const bool to_right : {true, false}) {
      Script source;
      source.receive = [left = std::size_t{100}](FrameBatch& into) mutable {
        ReceiveResult result;
        for (; left > 0 && !into.full(); --left, ++result.frames) {
          into.push(FrameView(into.room().data(), 60));
        }
        if (result.frames == 0) result.error = make_error_code(Errc::link_ended);
        return result;
      };
      std::vector<std::size_t> offered;
      Script sink;
      sink.send = [&](std::span<const FrameView> frames) {
        offered.push_back(frames.size());
        return SendResult{frames.size(), {}};
      };
      AnyLink from = scripted_link(source);
      AnyLink to = scripted_link(sink);
      Bridge bridge = Bridge::create({.batch_frames = max}).value();
      add_pair(bridge, from, to, to_right);
      EXPECT_EQ(bridge.run().error, Errc::link_ended);
      std::vector<std::size_t> expected(100 / max, max);
      if (100 % max != 0) expected.push_back(100 % max);
      EXPECT_EQ(offered, expected) << max;
      EXPECT_EQ(counters_of(bridge, to_right).batches, expected.size());
      EXPECT_EQ(counters_of(bridge, to_right).frames, 100U);
    }
  }
}

TEST(BridgeOptions, ALinkThatEndsWhileItIsSentToIsNamedWithItsPair) {
  for (const bool to_right : {true, false}) {
    Script silent;
    silent.name = "silent:";
    AnyLink a = scripted_link(silent);
    AnyLink b = scripted_link(silent);
    Script source;
    source.name = "source:";
    source.receive = [](FrameBatch& into) { return frames_into(into, 1); };
    Script sink;
    sink.name = "sink:";
    sink.send = [](std::span<const FrameView>) {
      return SendResult{0, make_error_code(Errc::bus_lost)};
    };
    AnyLink from = scripted_link(source);
    AnyLink to = scripted_link(sink);
    Bridge bridge = Bridge::create().value();
    ASSERT_TRUE(bridge.add(a, b));
    add_pair(bridge, from, to, to_right);
    const BridgeEnd end = bridge.run();
    EXPECT_EQ(end.why, BridgeEnd::Why::link_ended);
    EXPECT_EQ(end.address, "sink:");
    EXPECT_EQ(end.pair, 1U);
    EXPECT_EQ(end.error, Errc::bus_lost);
  }
}

}  // namespace
}  // namespace shmif::tap
