// How ports and followers of a bus of NetBSD's format wait, what they count meanwhile, and what
// they tell of it.

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tests/bus/netbsd/rig.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using namespace std::chrono_literals;

bool is_readable(int descriptor, std::chrono::milliseconds patience = 0ms) {
  pollfd entry{descriptor, POLLIN, 0};
  return poll(&entry, 1, static_cast<int>(patience.count())) == 1;
}
void send_some(NetbsdPeer& peer, std::uint64_t count, std::size_t size = 100) {
  for (std::uint64_t i = 0; i < count; ++i) peer.send(frame_of(kEverybody, i, size));
}
/// More than the ring holds.
void overrun(NetbsdPeer& peer) {
  send_some(peer, 1100, 1000);
}

TEST(NetbsdWaits, APortLooksSeldomerWhileNothingComesAndOftenAgainAfterAFrame) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  NetbsdPeer peer(bus.path());
  for (int round = 0; round < 2; ++round) {
    for (const int ms : {50, 100, 200, 400, 800, 1000, 1000}) {
      const WaitHint hint = port.prepare_wait();
      EXPECT_FALSE(hint.ready);
      EXPECT_EQ(hint.at_most, std::chrono::milliseconds(ms)) << round;
      port.finish_wait();
    }
    EXPECT_EQ(port.counters().wakeups, 7U * static_cast<unsigned>(round + 1));
    send_some(peer, 1);
    EXPECT_TRUE(port.prepare_wait().ready);
    EXPECT_EQ(receive_all(port).size(), 1U);
  }
  peer.lock();
  EXPECT_EQ(port.prepare_wait().at_most, 1ms) << "nothing tells when it is free";
  peer.unlock();
  ASSERT_FALSE(port.down());
  const WaitHint down = port.prepare_wait();
  EXPECT_FALSE(down.ready);
  EXPECT_EQ(down.at_most, 50ms);
}

// Looks that pass frames over find out that some were lost, and the next receive tells it.
template <class Reader>
void expect_losses_to_be_told_once(Reader& reader, NetbsdPeer& peer) {
  FrameBatch in(4096, 8U << 20U);
  for (std::uint64_t overruns = 1; overruns <= 2; ++overruns) {
    for (std::uint64_t i = 0; i < overruns; ++i) {
      overrun(peer);
      EXPECT_TRUE(reader.prepare_wait().ready);
      reader.finish_wait();
      EXPECT_TRUE(reader.wait(0ns));
    }
    const ReceiveResult got = reader.receive(in);
    EXPECT_FALSE(got.error);
    EXPECT_EQ(got.frames, 0U) << "it goes on with the newest";
    EXPECT_EQ(got.lost, overruns);
    EXPECT_EQ(reader.receive(in).lost, 0U);
    EXPECT_FALSE(reader.wait(0ns));
  }
  const PortCounters counters = reader.counters();
  EXPECT_EQ(counters.overruns, 3U);
  EXPECT_EQ(counters.lost_frames, 3U);
  EXPECT_TRUE(counters.lost_is_lower_bound());
  EXPECT_EQ(counters.lost_bytes, 3U * 1100 * 1024);
  send_some(peer, 1);
  EXPECT_EQ(reader.receive(in).frames, 1U);
}

TEST(NetbsdWaits, WhatAPortLostWhileItLookedIsToldOnce) {
  const NetbsdBus bus;
  NetbsdPeer peer(bus.path());
  Port port = port_on(bus.path(), {.resume = Resume::newest});
  expect_losses_to_be_told_once(port, peer);
}

TEST(NetbsdWaits, WhatAFollowerLostWhileItLookedIsToldOnce) {
  const NetbsdBus bus;
  NetbsdPeer peer(bus.path());
  Follower follower = Follower::open(bus.path(), Start::now, Resume::newest).value();
  expect_losses_to_be_told_once(follower, peer);
}

TEST(NetbsdWaits, AFollowerCountsWhatItHeardAndWhatItMissed) {
  const NetbsdBus bus;
  NetbsdPeer peer(bus.path());
  send_some(peer, 3, 50);
  Follower now = Follower::open(bus.path(), Start::now).value();
  Follower oldest = Follower::open(bus.path(), Start::oldest).value();
  FrameBatch in(4096, 8U << 20U);
  EXPECT_EQ(oldest.bus_frames(), 3U);
  EXPECT_EQ(oldest.receive(in).frames, 3U);
  EXPECT_EQ(oldest.bus_frames(), 3U);
  send_some(peer, 2, 70);
  EXPECT_EQ(oldest.receive(in).frames, 2U);
  EXPECT_EQ(now.receive(in).frames, 2U);
  EXPECT_EQ(oldest.counters().rx_frames, 5U);
  EXPECT_EQ(oldest.counters().rx_segments, 5U);
  EXPECT_EQ(oldest.counters().rx_bytes, 3U * 50 + 2 * 70);
  EXPECT_EQ(now.counters().rx_bytes, 2U * 70);
  send_some(peer, 1100, 1000);
  in.clear();
  const ReceiveResult got = now.receive(in);
  EXPECT_EQ(got.lost, 1U);
  EXPECT_EQ(now.counters().lost_bytes, (1100 - got.frames) * 1024);
  EXPECT_EQ(now.counters().corrupt, 0U);
  peer.set_word(20, 0xffffffff);
  EXPECT_EQ(now.receive(in).error, Errc::corrupt);
  EXPECT_EQ(now.counters().corrupt, 1U);
}

// A file that is cut behind what a reader looks at is lost all the same.
TEST(NetbsdWaits, EachWaitFindsOutThatTheEndOfTheFileIsGone) {
  ASSERT_TRUE(install_sigbus_guard());
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  Port waits = port_on(bus.path());
  Port late({.name = "late"});
  late.attach(bus.path()).value();
  Follower follower = Follower::open(bus.path(), Start::now).value();
  Follower follower_waits = Follower::open(bus.path(), Start::now).value();
  EXPECT_FALSE(port.prepare_wait().ready);
  EXPECT_FALSE(follower.prepare_wait().ready);
  FrameBatch in;
  ASSERT_EQ(truncate(bus.path().c_str(), 4096), 0);
  EXPECT_FALSE(port.receive(in).error) << "there it is as before";
  port.finish_wait();
  follower.finish_wait();
  EXPECT_FALSE(waits.wait(1h));
  EXPECT_FALSE(follower_waits.wait(1h));
  for (Port* each : {&port, &waits}) {
    EXPECT_TRUE(each->prepare_wait().ready) << "receive tells it";
    EXPECT_EQ(each->receive(in).error, Errc::bus_lost);
    EXPECT_EQ(each->send(view_of(frame_of(kEverybody, 1))).error, Errc::bus_lost);
    EXPECT_EQ(each->bus_frames(), 0U);
    ASSERT_FALSE(each->down());
    EXPECT_EQ(each->receive(in).error, Errc::bus_lost) << "also while it is down";
    EXPECT_EQ(each->send(view_of(frame_of(kEverybody, 1))).error, Errc::bus_lost);
    EXPECT_FALSE(each->wait_until_up());
  }
  for (Follower* each : {&follower, &follower_waits}) {
    EXPECT_TRUE(each->prepare_wait().ready);
    EXPECT_EQ(each->receive(in).error, Errc::bus_lost);
    EXPECT_EQ(each->bus_frames(), 0U);
  }
}

TEST(NetbsdWaits, AnInterruptEndsOneWaitAndNoOther) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  NetbsdPeer peer(bus.path());
  send_some(peer, 1);
  port.interrupt();
  EXPECT_FALSE(port.wait(1h));
  EXPECT_TRUE(port.wait(1h)) << "a frame is there";
  ASSERT_FALSE(port.down());
  EXPECT_FALSE(port.wait(1h)) << "down";
  port.interrupt();
  EXPECT_FALSE(port.wait_until_up());
  ASSERT_FALSE(port.up());
  EXPECT_TRUE(port.wait_until_up());
  send_some(peer, 1);
  EXPECT_TRUE(port.wait(1h)) << "the interrupt was used up";
}

TEST(NetbsdWaits, AWaitThatTakesLongSleepsAndCountsItsWakeups) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  EXPECT_FALSE(port.wait(0ns));
  EXPECT_EQ(port.counters().wakeups, 0U) << "it did not sleep";
  EXPECT_FALSE(port.wait(1ms));
  EXPECT_GT(port.counters().wakeups, 0U);
  for (int look = 0; look < 6; ++look) EXPECT_FALSE(port.prepare_wait().ready);
  const std::uint64_t before = port.counters().wakeups;
  std::atomic<int> id{0};
  std::jthread waits([&] {
    id = gettid();
    EXPECT_FALSE(port.wait(1h));
  });
  EXPECT_TRUE(eventually([&] {  // it would turn round and round, and be running
    if (id == 0) return false;
    const std::string path = "/proc/self/task/" + std::to_string(id) + "/wchan";
    std::ifstream file(path);
    std::string where;
    return file >> where && where.find("poll") != std::string::npos;
  }));
  port.interrupt();
  waits.join();
  EXPECT_LE(port.counters().wakeups, before + 2);
}

// ---- The level descriptor ----

TEST(NetbsdWaits, TheLevelDescriptorTellsOfAllThatAReceiveOrAWaitWouldTell) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  NetbsdPeer peer(bus.path());
  send_some(peer, 1);
  const int descriptor = port.level_descriptor().value();
  EXPECT_TRUE(is_readable(descriptor)) << "a frame was there already";
  EXPECT_TRUE(port.prepare_wait().ready);
  EXPECT_TRUE(is_readable(descriptor)) << "nobody has received it yet";
  EXPECT_EQ(receive_all(port).size(), 1U);
  EXPECT_FALSE(is_readable(descriptor));
  FrameBatch in;
  port.interrupt();
  EXPECT_TRUE(is_readable(descriptor));
  EXPECT_EQ(port.receive(in).frames, 0U);
  EXPECT_TRUE(is_readable(descriptor)) << "no wait has ended with it";
  EXPECT_FALSE(port.wait(1h));
  EXPECT_EQ(port.receive(in).frames, 0U);
  EXPECT_FALSE(is_readable(descriptor));
}

TEST(NetbsdWaits, TheLevelDescriptorTellsOfAFrameThatCameWhileTheLockWasHeld) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  NetbsdPeer peer(bus.path());
  const int descriptor = port.level_descriptor().value();
  peer.lock();
  FrameBatch in;
  EXPECT_EQ(port.receive(in).frames, 0U);
  peer.unlock();
  peer.send_quietly(frame_of(kEverybody, 1));  // and then the sender is killed
  EXPECT_TRUE(is_readable(descriptor, kGenerousTime));
  EXPECT_EQ(receive_all(port).size(), 1U);
}

}  // namespace
}  // namespace shmif::test
