// What a bridge is asked for, and which side something is of: the sizes of batches, the times to
// wait, and the name of the link that ended. Each is tried in both directions.

#include <gtest/gtest.h>
#include <sys/timerfd.h>

#include <thread>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "tap/bridge.hpp"
#include "tests/tap/bridge_rig.hpp"

namespace shmif::tap::test {
namespace {

/// A descriptor that becomes readable after some seconds, for a bridge that would run for ever.
UniqueFd in_vain_after(long seconds) {
  UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  const itimerspec at{.it_interval = {}, .it_value = {.tv_sec = seconds, .tv_nsec = 0}};
  EXPECT_EQ(::timerfd_settime(timer.get(), 0, &at, nullptr), 0);
  return timer;
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

TEST(BridgeOptions, AStopDescriptorStopsEveryRunThatItIsGivenTo) {
  Script silent;
  AnyLink a = scripted_link(silent);
  AnyLink b = scripted_link(silent);
  Bridge bridge = Bridge::create().value();
  ASSERT_TRUE(bridge.add(a, b));
  const UniqueFd timer = in_vain_after(10);
  for (int round = 0; round < 3; ++round) {
    const itimerspec soon{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = 1'000'000}};
    ASSERT_EQ(::timerfd_settime(timer.get(), 0, &soon, nullptr), 0);
    const BridgeEnd end = bridge.run(timer.get());
    EXPECT_EQ(end.why, BridgeEnd::Why::stopped);
    EXPECT_FALSE(end.error) << end.error.message();
    EXPECT_EQ(end.address, "");
  }
  // One that it was given to before is nothing to a later run.
  const auto begin = std::chrono::steady_clock::now();
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    bridge.stop();
  });
  EXPECT_EQ(bridge.run().why, BridgeEnd::Why::stopped);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(20));
  later.join();
}

}  // namespace
}  // namespace shmif::tap::test
