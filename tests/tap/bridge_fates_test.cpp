// What becomes of each frame: it is counted once, and the last frames before an end still go. And
// which side something is of, in both directions: the sizes of batches, the link that ended.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "tests/tap/bridge_rig.hpp"

namespace shmif::tap {
namespace {

using std::chrono::milliseconds;
using test::frames_into;
using test::Script;
using test::scripted_link;

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
