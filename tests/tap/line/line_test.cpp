// Line: the port of a host, and what is put before it while a bridge runs.

#include "tap/line/line.hpp"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tap/bridge_rig.hpp"

namespace shmif::tap::test {
namespace {

using namespace std::chrono_literals;
using shmif::test::Bytes;
using shmif::test::collect;
using shmif::test::eventually;
using shmif::test::make_frame;
using shmif::test::port_on;
using shmif::test::same_frames;
using shmif::test::TempBus;
using shmif::test::views;

std::unique_ptr<Port> up_on(const std::string& path) {
  return std::make_unique<Port>(port_on(path));
}

LineFaults faults_of(const std::string& text) {
  return parse_line_faults(text).value();
}

std::vector<Bytes> some_frames(std::uint64_t from, std::size_t count) {
  std::vector<Bytes> frames;
  frames.reserve(count);
  for (std::size_t i = 0; i < count; ++i) frames.push_back(make_frame(100, from + i));
  return frames;
}

TEST(Line, IsThePortItselfWhileNothingIsSetAndAgainWhenNothingIs) {
  const TempBus bus;
  Line line(up_on(bus.path()));
  AnyLink* const at = &line.link();
  const int own = line.port().descriptor();
  ASSERT_GE(own, 0);
  EXPECT_EQ(line.link().descriptor(), own);
  EXPECT_EQ(to_string(line.faults()), "none");
  ASSERT_TRUE(line.set_faults(faults_of("delay=1ms")));
  EXPECT_NE(line.link().descriptor(), own) << "it has a timer";
  EXPECT_EQ(to_string(line.faults()), "delay=1ms");
  ASSERT_TRUE(line.set_faults({}));
  EXPECT_EQ(line.link().descriptor(), own);
  line.settle();
  line.set_carrier(false);
  EXPECT_EQ(line.link().descriptor(), own);
  line.set_deaf_to([](auto, auto) { return false; });
  line.set_carrier(true);
  line.set_deaf_to({});
  EXPECT_EQ(&line.link(), at);
  EXPECT_EQ(line.link().address(), "bus:" + bus.path());
  EXPECT_TRUE(line.has_carrier());
  EXPECT_TRUE(line.hears_all());
}

TEST(Line, FaultsHoldForTheirWay) {
  const TempBus bus;
  Line line(up_on(bus.path()));
  Port other = port_on(bus.path());
  const std::vector<Bytes> frames = some_frames(1, 3);
  ASSERT_TRUE(line.set_faults(faults_of("in:drop=2;out:drop=1,3")));
  EXPECT_EQ(line.link().send(views(frames)).taken, 3U);
  EXPECT_TRUE(same_frames({frames[1]}, collect(other, 1)));
  EXPECT_EQ(other.send(views(frames)).taken, 3U);
  EXPECT_TRUE(same_frames({frames[0], frames[2]}, collect(line.link(), 2)));
  EXPECT_EQ(line.counters().received.lost, 1U);
  EXPECT_EQ(line.counters().sent.lost, 2U);
  ASSERT_TRUE(line.set_faults({}));
  EXPECT_EQ(other.send(views(frames)).taken, 3U);
  EXPECT_TRUE(same_frames(frames, collect(line.link(), 3)));
  EXPECT_EQ(line.counters().received.lost, 1U) << "the counters go on";
  ASSERT_TRUE(line.set_faults(faults_of("in:drop=2;out:drop=1,3")));
  EXPECT_EQ(other.send(views(frames)).taken, 3U);
  EXPECT_TRUE(same_frames({frames[0], frames[2]}, collect(line.link(), 2)))
      << "and the count of drop starts again";
  EXPECT_EQ(line.counters().received.lost, 2U);
}

TEST(Line, WhatWaitsGoesOnWhenThereAreNoFaultsAnyMore) {
  const TempBus bus;
  Line line(up_on(bus.path()));
  Port other = port_on(bus.path());
  const std::vector<Bytes> frames = some_frames(1, 100);
  ASSERT_TRUE(line.set_faults(faults_of("delay=1h")));
  EXPECT_EQ(other.send(views(frames)).taken, 100U);
  EXPECT_EQ(line.link().send(views(frames)).taken, 100U);
  FrameBatch batch;
  while (line.counters().to_receive < 100) ASSERT_EQ(line.link().receive(batch).frames, 0U);
  EXPECT_EQ(line.counters().to_send, 100U);
  ASSERT_TRUE(line.set_faults(faults_of("in:delay=1h")));
  EXPECT_EQ(line.link().receive(batch).frames, 0U) << "that way has faults still";
  EXPECT_TRUE(same_frames(frames, collect(other, 100)));
  ASSERT_TRUE(line.set_faults({}));
  line.settle();
  const std::vector<Bytes> later = some_frames(1000, 5);
  EXPECT_EQ(other.send(views(later)).taken, 5U);
  std::vector<Bytes> all = frames;
  all.insert(all.end(), later.begin(), later.end());
  EXPECT_TRUE(same_frames(all, collect(line.link(), 105)));
  line.settle();
  EXPECT_EQ(line.link().descriptor(), line.port().descriptor());
}

TEST(Line, HearsAllPortsButThoseThatItIsDeafTo) {
  const TempBus bus;
  Line line(up_on(bus.path()));
  Port one = port_on(bus.path());
  Port two = port_on(bus.path());
  const std::vector<Bytes> ones = some_frames(1, 3);
  const std::vector<Bytes> twos = some_frames(100, 2);
  const unsigned slot = one.slot();
  line.set_deaf_to([slot](std::uint16_t sender, std::uint32_t) { return sender == slot; });
  EXPECT_FALSE(line.hears_all());
  EXPECT_EQ(one.send(views(ones)).taken, 3U);
  EXPECT_EQ(two.send(FrameView(twos[0].data(), twos[0].size())).taken, 1U);
  EXPECT_EQ(one.send(views(ones)).taken, 3U);
  EXPECT_EQ(two.send(FrameView(twos[1].data(), twos[1].size())).taken, 1U);
  EXPECT_TRUE(same_frames(twos, collect(line.link(), 2)));
  EXPECT_EQ(line.counters().deaf, 6U);
  EXPECT_EQ(line.link().send(views(ones)).taken, 3U);
  std::vector<Bytes> to_one = twos;
  to_one.insert(to_one.end(), ones.begin(), ones.end());
  EXPECT_TRUE(same_frames(to_one, collect(one, 5))) << "the other one still hears it";
  line.set_deaf_to({});
  EXPECT_EQ(one.send(views(ones)).taken, 3U);
  EXPECT_TRUE(same_frames(ones, collect(line.link(), 3)));
  EXPECT_EQ(line.counters().deaf, 6U);
}

TEST(Line, AFrameThatIsNotHeardMeetsNoFault) {
  const TempBus bus;
  Line line(up_on(bus.path()));
  Port one = port_on(bus.path());
  Port two = port_on(bus.path());
  const unsigned slot = one.slot();
  ASSERT_TRUE(line.set_faults(faults_of("in:drop=2")));
  line.set_deaf_to([slot](std::uint16_t sender, std::uint32_t) { return sender == slot; });
  const std::vector<Bytes> frames = some_frames(1, 3);
  for (const Bytes& each : frames) {
    const FrameView frame(each.data(), each.size());
    EXPECT_EQ(one.send(frame).taken, 1U);
    EXPECT_EQ(two.send(frame).taken, 1U);
  }
  EXPECT_TRUE(same_frames({frames[0], frames[2]}, collect(line.link(), 2)));
  EXPECT_EQ(line.counters().received.frames, 3U);
}

TEST(Line, AFrameThatStaysOnTheBusMeetsNoFaultAndIsNotCountedAlsoWhileItIsCut) {
  const TempBus bus;
  Line line(up_on(bus.path()));
  Port stays = port_on(bus.path());
  Port leaves = port_on(bus.path());
  const unsigned slot = stays.slot();
  unsigned asked = 0;
  line.set_sorter([&](const FrameView& frame) {
    ++asked;
    return frame.sender == slot;
  });
  ASSERT_TRUE(line.set_faults(faults_of("in:drop=2")));
  const std::vector<Bytes> frames = some_frames(1, 3);
  const auto send_all = [&] {
    for (const Bytes& each : frames) {
      const FrameView frame(each.data(), each.size());
      EXPECT_EQ(stays.send(frame).taken, 1U);
      EXPECT_EQ(leaves.send(frame).taken, 1U);
    }
  };
  send_all();
  EXPECT_TRUE(same_frames({frames[0], frames[2]}, collect(line.link(), 2)));
  EXPECT_EQ(line.counters().received.frames, 3U);
  EXPECT_EQ(asked, 6U);
  line.set_carrier(false);
  send_all();
  FrameBatch batch;
  EXPECT_EQ(line.link().receive(batch).frames, 0U);
  EXPECT_EQ(line.counters().cut_received, 3U);
  EXPECT_EQ(asked, 12U);
  line.set_carrier(true);
  line.set_sorter({});
  ASSERT_TRUE(line.set_faults({}));
  send_all();
  EXPECT_EQ(collect(line.link(), 6).size(), 6U);
  EXPECT_EQ(line.link().descriptor(), line.port().descriptor());
}

/// What a port receives that takes super-frames, as it is.
struct Whole {
  Bytes bytes;
  bool has_work = false;  ///< it leaves work to its receiver
  std::uint16_t gso_size = 0;
  bool operator==(const Whole&) const = default;
};

template <Link L>
std::vector<Whole> whole_frames(L& link, std::size_t count) {
  std::vector<Whole> all;
  FrameBatch batch(64, 1U << 20U);
  EXPECT_TRUE(eventually([&] {
    batch.clear();
    EXPECT_FALSE(link.receive(batch).error);
    for (const FrameView& each : batch.frames()) {
      all.push_back({shmif::test::to_bytes(each), each.offload.pending(), each.offload.gso_size});
    }
    return all.size() >= count;
  }));
  return all;
}

TEST(Line, AFaultHitsTheSegmentsOfASuperFrameAndOthersStillGetThatWhole) {
  constexpr std::size_t kSegments = 50;
  constexpr std::size_t kSegmentBytes = 1000;
  const shmif::test::Shape shape;
  const Bytes bytes = shmif::test::build(shape, kSegments * kSegmentBytes, 1);
  FrameView super(bytes.data(), bytes.size());
  super.offload = shmif::test::header_for(shape, kSegmentBytes);
  std::vector<std::vector<Whole>> seen;  // by a third port, with each of these faults
  for (const char* const text : {"none", "in:drop=2,40", "in:corrupt=100%", "in:loss=100%"}) {
    SCOPED_TRACE(text);
    const TempBus bus;
    Port sender = port_on(bus.path());
    Port third = port_on(bus.path(), {.promiscuous = true, .take_offloads = true});
    Line line(
        std::make_unique<Port>(port_on(bus.path(), {.promiscuous = true, .take_offloads = true})));
    ASSERT_TRUE(line.set_faults(faults_of(text)));
    ASSERT_EQ(sender.send({&super, 1}).taken, 1U);
    seen.push_back(whole_frames(third, 1));
    EXPECT_EQ(seen.back(), seen.front());
    if (std::string(text) != "in:drop=2,40") continue;
    std::vector<Whole> expected = whole_frames(line.link(), kSegments - 2);
    ASSERT_EQ(expected.size(), kSegments - 2);
    std::size_t segment = 0;
    for (const Whole& each : expected) {
      if (segment == 1 || segment == 39) ++segment;
      EXPECT_FALSE(each.has_work);
      EXPECT_TRUE(transport_checksum_holds(shape, each.bytes));
      EXPECT_TRUE(std::equal(
          each.bytes.begin() + static_cast<std::ptrdiff_t>(shape.payload()), each.bytes.end(),
          bytes.begin() + static_cast<std::ptrdiff_t>(shape.payload() + kSegmentBytes * segment)));
      ++segment;
    }
    EXPECT_EQ(line.counters().received.frames, kSegments);
    EXPECT_EQ(line.counters().received.lost, 2U);
  }
  ASSERT_EQ(seen.front().size(), 1U);
  EXPECT_EQ(seen.front()[0], (Whole{bytes, true, kSegmentBytes}));
}

TEST(Line, WhileItIsCutNothingPassesAndAllIsCounted) {
  for (const bool delayed : {false, true}) {
    SCOPED_TRACE(delayed);
    const TempBus bus;
    Line line(up_on(bus.path()));
    Port other = port_on(bus.path());
    const std::vector<Bytes> frames = some_frames(1, 3);
    std::uint64_t under_way = 0;
    FrameBatch batch;
    if (delayed) {
      ASSERT_TRUE(line.set_faults(faults_of("delay=1h")));
      EXPECT_EQ(other.send(views(frames)).taken, 3U);
      const FrameView frame(frames[0].data(), frames[0].size());
      EXPECT_EQ(line.link().send({&frame, 1}).taken, 1U);
      while (line.counters().to_receive < 3) ASSERT_EQ(line.link().receive(batch).frames, 0U);
      under_way = 3;
    }
    line.set_carrier(false);
    EXPECT_FALSE(line.has_carrier());
    EXPECT_EQ(line.counters().to_receive, 0U);
    EXPECT_EQ(other.send(views(frames)).taken, 3U);
    EXPECT_EQ(line.link().send(views(frames)).taken, 3U);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(line.link().receive(batch).frames, 0U);
    EXPECT_EQ(line.counters().cut_received, 3U + under_way);
    line.set_carrier(true);
    EXPECT_EQ(line.counters().cut_sent, delayed ? 4U : 3U);
    if (delayed) {
      ASSERT_TRUE(line.set_faults({}));
    }
    EXPECT_EQ(other.send(views(frames)).taken, 3U);
    EXPECT_TRUE(same_frames(frames, collect(line.link(), 3)));
    EXPECT_EQ(line.link().send(views(frames)).taken, 3U);
    EXPECT_TRUE(same_frames(frames, collect(other, 3)));
  }
}

/// Runs functions in the loop of a bridge.
class Calls {
 public:
  explicit Calls(Bridge& bridge) : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    bridge
        .watch(event_.get(),
               [this] {
                 std::uint64_t count = 0;
                 (void)!::read(event_.get(), &count, sizeof count);
                 call_();
                 done_.set_value();
                 return true;
               })
        .value();
  }
  void run(std::function<void()> call) {
    call_ = std::move(call);
    done_ = {};
    std::future<void> done = done_.get_future();
    const std::uint64_t one = 1;
    ASSERT_EQ(::write(event_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    ASSERT_EQ(done.wait_for(60s), std::future_status::ready);
  }

 private:
  UniqueFd event_;
  std::function<void()> call_;
  std::promise<void> done_;
};

// Each change of the faults gives the link another descriptor, which the bridge must wait for.
TEST(Line, ABridgeGoesOnWithALineThatChangesAndLosesAndDoublesNothing) {
  const TempBus bus;
  Port other = port_on(bus.path());
  Line line(up_on(bus.path()));
  LoopbackCable cable({.queue_frames = 4096});
  Bridge bridge = Bridge::create().value();
  bridge.add(line.link(), cable.near).value();
  Calls calls(bridge);
  Running running(bridge);
  for (std::uint64_t round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    const std::vector<Bytes> before = some_frames(1000 * round, 50);
    const std::vector<Bytes> after = some_frames(1000 * round + 500, 50);
    EXPECT_EQ(other.send(views(before)).taken, 50U);
    send_all(cable.far, before);
    const char* const texts[] = {"delay=1ms", "none", "delay=2ms", "in:delay=1ms",
                                 "out:rate=100Mbit"};
    calls.run([&] {
      line.set_faults(faults_of(texts[round % 5])).value();
      if (round % 7 == 3) line.settle();
    });
    EXPECT_EQ(other.send(views(after)).taken, 50U);
    send_all(cable.far, after);
    std::vector<Bytes> all = before;
    all.insert(all.end(), after.begin(), after.end());
    EXPECT_TRUE(same_frames(all, collect(cable.far, 100)));
    EXPECT_TRUE(same_frames(all, collect(other, 100)));
  }
  calls.run([&] {
    line.set_faults({}).value();
    line.settle();
  });
  const std::vector<Bytes> last = some_frames(90'000, 5);
  EXPECT_EQ(other.send(views(last)).taken, 5U);
  EXPECT_TRUE(same_frames(last, collect(cable.far, 5)));
  running.stop();
  EXPECT_EQ(bridge.counters(0).to_right.received, 20U * 100 + 5);
  EXPECT_EQ(line.link().descriptor(), line.port().descriptor());
}

TEST(Line, GoesOnWithItsFaultsWhenThePortIsAttachedAgain) {
  const TempBus first;
  const TempBus second;
  Line line(up_on(first.path()));
  ASSERT_TRUE(line.set_faults(faults_of("drop=1")));
  const std::vector<Bytes> frames = some_frames(1, 2);
  {
    Port other = port_on(first.path());
    EXPECT_EQ(other.send(views(frames)).taken, 2U);
    EXPECT_TRUE(same_frames({frames[1]}, collect(line.link(), 1)));
  }
  ASSERT_FALSE(line.port().down());
  ASSERT_FALSE(line.port().detach());
  FrameBatch batch;
  EXPECT_TRUE(is_final(line.link().receive(batch).error));
  ASSERT_TRUE(line.port().attach(second.path()));
  ASSERT_FALSE(line.port().up());
  ASSERT_TRUE(line.restart());
  Port other = port_on(second.path());
  EXPECT_EQ(other.send(views(frames)).taken, 2U);
  EXPECT_TRUE(same_frames({frames[1]}, collect(line.link(), 1)));
  EXPECT_EQ(line.counters().received.lost, 2U);
  EXPECT_EQ(to_string(line.faults()), "drop=1");
}

TEST(Line, WhatFaultsDidStaysCountedWhenThereAreNoneAnyMore) {
  constexpr std::size_t kSegments = 10;
  constexpr std::size_t kSegmentBytes = 1000;
  const shmif::test::Shape shape;
  const Bytes bytes = shmif::test::build(shape, kSegments * kSegmentBytes, 1);
  FrameView super(bytes.data(), bytes.size());
  super.offload = shmif::test::header_for(shape, kSegmentBytes);
  const TempBus bus;
  Line line(up_on(bus.path()));
  ASSERT_TRUE(line.set_faults(faults_of("out:drop=3")));
  ASSERT_EQ(line.link().send({&super, 1}).taken, 1U);
  const std::vector<Bytes> refused = some_frames(1, 2);
  ASSERT_FALSE(line.port().down());
  EXPECT_EQ(line.link().send(views(refused)).taken, 2U);
  ASSERT_FALSE(line.port().up());
  for (const bool faults : {true, false}) {
    SCOPED_TRACE(faults);
    if (!faults) {
      ASSERT_TRUE(line.set_faults({}));
      line.settle();
      EXPECT_EQ(line.link().descriptor(), line.port().descriptor());
    }
    EXPECT_EQ(line.counters().segments_made, kSegments - 1);
    EXPECT_EQ(line.counters().refused, 2U);
    EXPECT_EQ(line.counters().sent.frames, kSegments + 2);
    EXPECT_EQ(line.counters().sent.lost, 1U);
  }
}

TEST(Line, WhatWaitedIsLostAndCountedWhenThePortIsAttachedAgain) {
  const TempBus first;
  const TempBus second;
  Line line(up_on(first.path()));
  Port other = port_on(first.path());
  ASSERT_TRUE(line.set_faults(faults_of("delay=1h")));
  const std::vector<Bytes> frames = some_frames(1, 3);
  EXPECT_EQ(other.send(views(frames)).taken, 3U);
  const FrameView frame(frames[0].data(), frames[0].size());
  EXPECT_EQ(line.link().send({&frame, 1}).taken, 1U);
  FrameBatch batch;
  while (line.counters().to_receive < 3) ASSERT_EQ(line.link().receive(batch).frames, 0U);
  ASSERT_FALSE(line.port().down());
  ASSERT_FALSE(line.port().detach());
  ASSERT_TRUE(line.port().attach(second.path()));
  ASSERT_FALSE(line.port().up());
  ASSERT_TRUE(line.restart());
  EXPECT_EQ(line.counters().to_receive, 0U);
  EXPECT_EQ(line.counters().to_send, 0U);
  EXPECT_EQ(line.counters().cut_received, 3U);
  EXPECT_EQ(line.counters().cut_sent, 1U);
  Port there = port_on(second.path());
  ASSERT_TRUE(line.set_faults({}));
  EXPECT_EQ(there.send(views(frames)).taken, 3U);
  EXPECT_TRUE(same_frames(frames, collect(line.link(), 3))) << "none of the first bus";
  EXPECT_EQ(line.link().send({&frame, 1}).taken, 1U);
  EXPECT_TRUE(same_frames({frames[0]}, collect(there, 1)));
}

TEST(LineCounters, AreAddedAndSubtractedOneByOne) {
  LineCounters one;
  std::uint64_t next = 10;
  for (std::uint64_t* each :
       {&one.received.frames, &one.received.lost, &one.received.duplicated, &one.received.reordered,
        &one.received.corrupted, &one.received.truncated, &one.received.queue_full,
        &one.sent.frames, &one.sent.queue_full, &one.segments_made, &one.refused, &one.to_receive,
        &one.to_send, &one.deaf, &one.cut_received, &one.cut_sent}) {
    *each = next++;
  }
  LineCounters two = one;
  two += one;
  EXPECT_EQ(two.received.frames, 20U);
  EXPECT_EQ(two.received.truncated, 30U);
  EXPECT_EQ(two.sent.queue_full, 36U);
  EXPECT_EQ(two.cut_sent, 50U);
  const LineCounters back = two.since(one);
  EXPECT_EQ(back.received.lost, 11U);
  EXPECT_EQ(back.received.queue_full, 16U);
  EXPECT_EQ(back.sent.frames, 17U);
  EXPECT_EQ(back.segments_made, 19U);
  EXPECT_EQ(back.deaf, 23U);
  EXPECT_EQ(back.cut_sent, 25U);
}

}  // namespace
}  // namespace shmif::tap::test
