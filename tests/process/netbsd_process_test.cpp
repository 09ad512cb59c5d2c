// Processes on a bus of NetBSD's format: many frames both ways, and peers that are killed or
// stopped at each step of a send.

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/netbsd_peer.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

using Octets = NetbsdPeer::Bytes;

constexpr std::uint64_t kSeed = 20261126;

class NetbsdProcess : public testing::Test {
 protected:
  NetbsdProcess() : path_(dir_.file("bus")) {
    Bus::create(path_, {.format = BusFormat::netbsd}).value();
  }
  const std::string& path() const { return path_; }

 private:
  TempDir dir_;
  std::string path_;
};

/// A broadcast frame that follows from its number.
Octets numbered(std::uint64_t number) {
  const std::size_t size = 60 + (number * 7919 + kSeed) % 1455;
  Octets frame(size, static_cast<unsigned char>(number * 31));
  std::memset(frame.data(), 0xff, 6);
  frame[6] = 0xb2;
  std::memcpy(frame.data() + 14, &number, sizeof number);
  return frame;
}
std::uint64_t number_of(const unsigned char* frame) {
  std::uint64_t number = 0;
  std::memcpy(&number, frame + 14, sizeof number);
  return number;
}
FrameView view_of(const Octets& bytes) {
  return {bytes.data(), bytes.size()};
}

/// How many frames: few in the regular test; SHMIF_NETBSD_FRAMES=10000000 for a long run by hand.
std::uint64_t frames_to_send() {
  if (const char* const wish = std::getenv("SHMIF_NETBSD_FRAMES"))
    return std::strtoull(wish, nullptr, 10);
  return kSanitized ? 5'000 : 100'000;
}

/// What both sides know of each other, so that neither overruns the other: nobody waits on such a
/// bus.
struct Progress {
  std::atomic<std::uint64_t> received_by_peer, received_by_port;
  std::atomic<bool> failed;
};
constexpr std::uint64_t kAhead = 200;  // frames; the ring holds some 1,300

void let_others_run() {
  std::this_thread::yield();
}

/// Sends frames from `begin` on, and receives as many. Result: 0, or which frame was wrong.
int be_peer(const std::string& path, std::uint64_t frames, Progress& progress,
            std::atomic<bool>& ready) {
  NetbsdPeer peer(path);
  while (peer.receive()) {
  }
  ready = true;
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  while (sent < frames || received < frames) {
    if (progress.failed) return 1;
    bool did = false;
    if (sent < frames && sent < progress.received_by_port + kAhead) {
      peer.send(numbered(sent++));
      did = true;
    }
    if (const auto frame = peer.receive()) {
      if (*frame != numbered(received)) {
        std::fprintf(stderr, "frame %llu is wrong\n", static_cast<unsigned long long>(received));
        return 2;
      }
      progress.received_by_peer = ++received;
      did = true;
    }
    if (!did) let_others_run();
  }
  return peer.overruns() == 0 ? 0 : 3;
}

TEST_F(NetbsdProcess, FramesGoBothWaysBetweenTwoProcesses) {
  const std::uint64_t frames = frames_to_send();
  const Shared<Progress> progress;
  const Shared<std::atomic<bool>> ready;
  Port port = port_on(path());  // before the peer sends: a port begins with the next frame
  Child child([&] { return be_peer(path(), frames, *progress, *ready); });
  ASSERT_TRUE(eventually([&] { return ready->load(); }));
  FrameBatch batch;
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  bool right = true;
  constexpr std::chrono::minutes kLongest(30);  // ctest ends the regular test long before
  const auto begin = std::chrono::steady_clock::now();
  std::vector<Octets> octets;
  std::vector<FrameView> views;
  while (right && (sent < frames || received < frames)) {
    octets.clear();
    views.clear();
    while (sent + octets.size() < std::min(frames, progress->received_by_peer + kAhead) &&
           octets.size() < 16)
      octets.push_back(numbered(sent + octets.size()));
    for (const Octets& each : octets) views.push_back(view_of(each));
    const SendResult result = port.send(views);
    ASSERT_FALSE(result.error) << result.error.message();
    sent += result.taken;
    batch.clear();
    static_cast<void>(port.receive(batch));
    for (const FrameView& frame : batch.frames()) {
      const Octets expected = numbered(received++);
      right = right && frame.size() == expected.size() &&
              std::memcmp(frame.bytes.data(), expected.data(), expected.size()) == 0;
    }
    progress->received_by_port = received;
    if (octets.empty() && batch.empty()) port.wait(std::chrono::milliseconds(1));
    if (std::chrono::steady_clock::now() - begin > kLongest) right = false;
  }
  progress->failed = !right;
  EXPECT_TRUE(right) << "of " << frames << " frames, number " << received << " is wrong";
  EXPECT_EQ(child.wait(), 0);
  const PortCounters counters = port.counters();
  EXPECT_EQ(counters.rx_frames, frames);
  EXPECT_EQ(counters.tx_frames, frames);
  EXPECT_EQ(counters.overruns, 0U);
  EXPECT_EQ(counters.corrupt, 0U);
  EXPECT_TRUE(is_clean(Bus::open(path()).value().audit()));
}

/// A peer that has sent two frames, and stops itself in the third, at `step`.
Child peer_that_stops_at(const std::string& path, NetbsdPeer::Step step) {
  return Child([&path, step] {
    NetbsdPeer peer(path);
    peer.send(numbered(1));
    peer.send(numbered(2));
    peer.send(numbered(3), [step](NetbsdPeer::Step at) {
      if (at == step) raise(SIGSTOP);
    });
    return 0;
  });
}

bool is_held_at(NetbsdPeer::Step step) {
  return step < NetbsdPeer::unlocked;
}

std::vector<std::uint64_t> receive_all(Port& port) {
  std::vector<std::uint64_t> numbers;
  FrameBatch batch;
  while (port.receive(batch).frames > 0) {
    for (const FrameView& frame : batch.frames())
      numbers.push_back(number_of(reinterpret_cast<const unsigned char*>(frame.bytes.data())));
    batch.clear();
  }
  return numbers;
}

class NetbsdStep : public NetbsdProcess, public testing::WithParamInterface<int> {};

TEST_P(NetbsdStep, AKilledSenderIsReportedAndRepairFreesItsLock) {
  const auto step = static_cast<NetbsdPeer::Step>(GetParam());
  Port port = port_on(path());
  {
    Child peer = peer_that_stops_at(path(), step);
    ASSERT_TRUE(peer.wait_until_stopped());
    peer.kill_and_wait();
  }
  const Octets own = numbered(100);
  if (!is_held_at(step)) {
    ASSERT_EQ(port.send(view_of(own)).taken, 1U);
    EXPECT_EQ(receive_all(port), (std::vector<std::uint64_t>{1, 2, 3}));
    return;
  }
  // Each looks at the lock for a second, so they do it at the same time.
  const auto at_once = [](const auto& look) { return std::async(std::launch::async, look); };
  auto sent = at_once([&] { return port.send(view_of(own)).error; });
  auto audited = at_once([&] { return Bus::open(path()).value().audit(); });
  auto repaired = at_once([&] { return Bus::repair(path(), {}).error().code; });
  auto attached = at_once([&] { return Port().attach(path()).error().code; });
  FrameBatch batch;
  EXPECT_TRUE(eventually([&] {
    batch.clear();
    const ReceiveResult got = port.receive(batch);
    EXPECT_EQ(got.frames, 0U);
    return got.error == Errc::lock_held;
  }));
  EXPECT_EQ(sent.get(), make_error_code(Errc::lock_held));
  EXPECT_EQ(repaired.get(), make_error_code(Errc::lock_held));
  EXPECT_EQ(attached.get(), make_error_code(Errc::lock_held));
  const AuditReport report = audited.get();
  ASSERT_FALSE(report.clean());
  EXPECT_EQ(report.findings[0].invariant, "N4");
  EXPECT_NE(report.findings[0].what.find("repair --force"), std::string::npos);

  const RepairReport done = Bus::repair(path(), {.force = true}).value();
  EXPECT_TRUE(done.lock_released);
  EXPECT_TRUE(is_clean(Bus::open(path()).value().audit()));
  ASSERT_EQ(port.send(view_of(own)).taken, 1U);
  NetbsdPeer other(path(), 5);
  other.send(numbered(200));
  // What the dead one had not finished is never delivered. Whether the frame before it is kept
  // depends on whether `last` had moved.
  const std::vector<std::uint64_t> heard = receive_all(port);
  const std::vector<std::uint64_t> shortest{1, 200};
  const std::vector<std::uint64_t> longest{1, 2, 200};
  EXPECT_TRUE(heard == shortest || heard == longest) << testing::PrintToString(heard);
  EXPECT_TRUE(is_clean(Bus::open(path()).value().audit()));
}

TEST_P(NetbsdStep, AStoppedSenderIsReportedAndNothingIsLostWhenItGoesOn) {
  const auto step = static_cast<NetbsdPeer::Step>(GetParam());
  Port port = port_on(path());
  Child peer = peer_that_stops_at(path(), step);
  ASSERT_TRUE(peer.wait_until_stopped());
  const Octets own = numbered(100);
  const SendResult sent = port.send(view_of(own));
  if (is_held_at(step)) {
    EXPECT_EQ(sent.error, make_error_code(Errc::lock_held));
    // Once it was reported, a sender does not wait for a second again.
    EXPECT_EQ(port.send(view_of(own)).error, make_error_code(Errc::lock_held));
    EXPECT_TRUE(Bus::open(path()).value().info().netbsd->lock_is_held);
  } else {
    EXPECT_EQ(sent.taken, 1U);
  }
  peer.resume();
  EXPECT_EQ(peer.wait(), 0);
  ASSERT_EQ(port.send(view_of(own)).taken, 1U);
  EXPECT_EQ(receive_all(port), (std::vector<std::uint64_t>{1, 2, 3}));
  EXPECT_TRUE(is_clean(Bus::open(path()).value().audit()));
}

std::string name_of_step(const testing::TestParamInfo<int>& step) {
  constexpr const char* kNames[] = {"locked",   "movedLast", "wroteHeader", "wroteHalf",
                                    "wroteAll", "unlocked",  "rang"};
  return kNames[step.param];
}
INSTANTIATE_TEST_SUITE_P(Of, NetbsdStep, testing::Range(0, int{NetbsdPeer::kSteps}), name_of_step);

// Our own senders, killed anywhere. The chain is sound at each moment, and at most the lock is
// left.
TEST_F(NetbsdProcess, AKilledSenderOfOursLeavesASoundChain) {
  constexpr int kKills = 100;
  constexpr int kMaxHeld = 2;  // each takes two seconds to be sure of
  int held = 0;
  for (int i = 0; i < kKills && held < kMaxHeld; ++i) {
    const Shared<std::atomic<std::uint64_t>> sent;
    {
      Child child([&] {
        Port port = port_on(path());
        std::vector<Octets> octets;
        for (std::uint64_t n = 0; n < 16; ++n) octets.push_back(numbered(n));
        std::vector<FrameView> views;
        for (const Octets& each : octets) views.push_back(view_of(each));
        for (;;) *sent += port.send(views).taken;
        return 0;
      });
      ASSERT_TRUE(eventually([&] { return *sent > static_cast<unsigned>(i % 50) * 16; }));
      child.kill_and_wait();
    }
    const Bus bus = Bus::open(path()).value();
    if (bus.info().netbsd->lock_is_held) {
      ++held;
      const AuditReport report = bus.audit();
      ASSERT_EQ(report.findings.size(), 1U);
      ASSERT_EQ(report.findings[0].invariant, "N4");
      ASSERT_TRUE(Bus::repair(path(), {.force = true}).value().lock_released);
    }
    ASSERT_TRUE(is_clean(Bus::open(path()).value().audit())) << i;
  }
  RecordProperty("held", held);
}

// A reader of ours holds nothing up, wherever it is stopped or killed.
TEST_F(NetbsdProcess, AStoppedReaderOfOursHoldsNobodyUp) {
  const Shared<std::atomic<std::uint64_t>> received;
  Child reader([&] {
    Port port = port_on(path());
    FrameBatch batch;
    *received = 1;
    for (;;) {
      batch.clear();
      *received += port.receive(batch).frames;
    }
    return 0;
  });
  ASSERT_TRUE(eventually([&] { return *received != 0; }));
  NetbsdPeer peer(path());
  std::uint64_t sent = 0;
  for (int i = 0; i < 50; ++i) {
    for (int n = 0; n < 20; ++n) peer.send(numbered(sent++));
    reader.stop();
    EXPECT_EQ(peer.word(24), 0U);
    for (int n = 0; n < 20; ++n) peer.send(numbered(sent++));
    reader.resume();
  }
  reader.kill_and_wait();
  EXPECT_EQ(peer.word(24), 0U);
  peer.send(numbered(sent));
}

}  // namespace
}  // namespace shmif::test
