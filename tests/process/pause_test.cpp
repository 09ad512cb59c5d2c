// What --flow pause promises: no frame is lost while every port goes on reading, and a port that
// does not read costs the others little.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "shmif/port.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using std::chrono::milliseconds;

constexpr std::uint32_t kFrames = kSanitized ? 20'000 : 300'000;
constexpr std::size_t kLargest = 200;

/// A small ring that comes round often. Who asserts that nothing is lost is patient, since a test
/// machine may leave any process waiting for a CPU.
BusOptions pausing(milliseconds patience = milliseconds(1000)) {
  return {.ring_bytes = 64U << 10U, .flow = Flow::pause, .patience = patience};
}

void send_all(Port& port, unsigned sender, std::uint32_t from, std::uint32_t to) {
  NumberedBatch batch(kLargest);
  for (std::uint32_t next = from; next < to;) {
    const std::size_t count = std::min<std::size_t>(1 + next % NumberedBatch::kMax, to - next);
    const SendResult sent = port.send(batch.make(sender, next, count));
    ASSERT_FALSE(sent.error) << sent.error.message();
    next += static_cast<std::uint32_t>(sent.taken);
  }
}

/// Receives `sender`'s frames up to number `last`, pausing for `rest` after each batch. Result:
/// whether all came, each once and whole.
bool hears_all(Port& port, unsigned sender, std::uint32_t last,
               std::chrono::microseconds rest = std::chrono::microseconds(0)) {
  FrameBatch batch(16, 64U << 10U);
  for (std::uint32_t expected = 0; expected <= last;) {
    batch.clear();
    const ReceiveResult got = port.receive(batch);
    if (got.error || got.lost != 0) return false;
    for (const FrameView& frame : batch.frames()) {
      const auto n = check_numbered(frame);
      if (!n) return false;
      if (n->sender == sender && n->sequence != expected++) return false;
    }
    if (got.frames == 0) port.wait(milliseconds(100));
    if (rest.count() != 0) std::this_thread::sleep_for(rest);
  }
  return port.counters().lost_frames == 0;
}

const PortInfo* find(const BusInfo& info, const std::string& name) {
  const auto it = std::find_if(info.ports.begin(), info.ports.end(),
                               [&](const PortInfo& p) { return p.name == name; });
  return it == info.ports.end() ? nullptr : &*it;
}

/// A process with a port of its own, up when the constructor returns.
class Reader {
 public:
  template <class Body>
  Reader(const TempBus& bus, const std::string& name, Body body)
      : child_([&bus, name, body] {
          Port port = port_on(bus.path(), {.name = name});
          return body(port);
        }) {
    up_ = eventually([&] {
      const BusInfo info = bus.info();
      const PortInfo* p = find(info, name);
      return p != nullptr && p->up;
    });
  }
  bool is_up() const { return up_; }
  Child& process() { return child_; }

 private:
  Child child_;
  bool up_ = false;
};

TEST(Pause, NothingIsLostWhileEveryPortReads) {
  const TempBus bus(pausing());
  std::vector<Reader> readers;
  readers.reserve(4);
  for (unsigned i = 0; i < 4; ++i) {
    // One of them is much slower than the sender.
    const std::chrono::microseconds rest(i == 3 ? 50 : 0);
    readers.emplace_back(bus, "reader" + std::to_string(i), [rest](Port& port) {
      return hears_all(port, 1, kFrames - 1, rest) ? 0 : 1;
    });
    ASSERT_TRUE(readers.back().is_up());
  }
  Port sender = port_on(bus.path(), {.name = "sender"});
  send_all(sender, 1, 0, kFrames);
  for (Reader& reader : readers) EXPECT_EQ(reader.process().wait(), 0);
  EXPECT_GT(sender.counters().pauses, 0U) << "the ring was never full: this showed nothing";
  EXPECT_TRUE(is_clean(bus.audit()));
}

TEST(Pause, NothingIsLostBetweenSeveralSenders) {
  const TempBus bus(pausing());
  Reader reader(bus, "reader", [](Port& port) {
    FrameBatch batch(64, 256U << 10U);
    std::array<std::uint32_t, 3> next{};
    while (std::ranges::any_of(next, [](std::uint32_t n) { return n < kFrames / 3; })) {
      batch.clear();
      const ReceiveResult got = port.receive(batch);
      if (got.error || got.lost != 0) return 1;
      for (const FrameView& frame : batch.frames()) {
        const auto n = check_numbered(frame);
        if (!n || n->sequence != next.at(n->sender)++) return 2;
      }
      if (got.frames == 0) port.wait(milliseconds(100));
    }
    return 0;
  });
  ASSERT_TRUE(reader.is_up());
  std::vector<Child> senders;
  for (unsigned i = 0; i < 3; ++i) {
    senders.emplace_back([&bus, i] {
      Port port = port_on(bus.path());
      // Nobody reads this port; the others lose patience with it once, and it loses frames.
      send_all(port, i, 0, kFrames / 3);
      return 0;
    });
  }
  for (Child& sender : senders) EXPECT_EQ(sender.wait(), 0);
  EXPECT_EQ(reader.process().wait(), 0);
}

TEST(Pause, TwoThatSendBeforeTheyReadDoNotLockUpAndLoseNothing) {
  const TempBus bus(pausing());
  const auto chat = [&bus](unsigned me) {
    return [&bus, me] {
      Port port = port_on(bus.path(), {.name = "host" + std::to_string(me)});
      if (!eventually([&] { return ports_up(bus.info()) == 2; })) return 1;
      NumberedBatch out(kLargest);
      FrameBatch in(64, 256U << 10U);
      std::uint32_t sent = 0;
      std::uint32_t heard = 0;
      while (sent < kFrames || heard < kFrames) {
        const std::size_t count = std::min<std::size_t>(NumberedBatch::kMax, kFrames - sent);
        if (count != 0) {
          const SendResult result = port.try_send(out.make(me, sent, count));
          if (result.error) return 2;
          sent += static_cast<std::uint32_t>(result.taken);
        }
        in.clear();
        const ReceiveResult got = port.receive(in);
        if (got.error || got.lost != 0) return 3;
        for (const FrameView& frame : in.frames()) {
          const auto n = check_numbered(frame);
          if (!n || n->sequence != heard++) return 4;
        }
      }
      // It must stay until the other has heard everything: who is gone reads nothing any more.
      return eventually([&] {
        const BusInfo info = bus.info();
        return std::ranges::all_of(info.ports,
                                   [](const PortInfo& p) { return p.rx_frames == kFrames; });
      })
                 ? 0
                 : 5;
    };
  };
  Child a(chat(0));
  Child b(chat(1));
  EXPECT_EQ(a.wait(), 0);
  EXPECT_EQ(b.wait(), 0);
}

TEST(Pause, AStoppedPortIsOverrunOnceAndHeededAgainWhenItHasCaughtUp) {
  const TempBus bus(pausing(milliseconds(10)));
  Reader stopped(bus, "stopped", [](Port& port) {
    FrameBatch batch(64, 256U << 10U);
    for (;;) {  // runs until killed
      batch.clear();
      if (port.receive(batch).frames == 0) port.wait(milliseconds(10));
    }
    return 0;
  });
  ASSERT_TRUE(stopped.is_up());
  Port sender = port_on(bus.path(), {.name = "sender"});
  FrameBatch own(64, 256U << 10U);
  stopped.process().stop();
  send_all(sender, 1, 0, 20'000);  // some twenty laps
  static_cast<void>(sender.receive(own));
  const BusInfo then = bus.info();
  ASSERT_NE(find(then, "stopped"), nullptr);
  EXPECT_EQ(find(then, "stopped")->stalls, 1U);
  EXPECT_FALSE(find(then, "stopped")->pause);
  stopped.process().resume();
  EXPECT_TRUE(eventually([&] {
    static_cast<void>(sender.receive(own));
    const BusInfo now = bus.info();
    const PortInfo* p = find(now, "stopped");
    return p != nullptr && p->pause && p->lost_frames > 0 && passed(*p) == now.frames;
  })) << "it was overrun, and says so, and is waited for again";
}

TEST(Pause, AKilledReaderIsForgotten) {
  const TempBus bus(pausing());
  Reader killed(bus, "killed", [](Port& port) {
    for (;;) port.wait(milliseconds(1000));  // never reads
    return 0;
  });
  ASSERT_TRUE(killed.is_up());
  killed.process().kill_and_wait();
  Port sender = port_on(bus.path(), {.name = "sender"});
  Port reader = port_on(bus.path(), {.name = "reader"});
  std::jthread drain([&] { EXPECT_TRUE(hears_all(reader, 1, 20'000 - 1)); });
  send_all(sender, 1, 0, 20'000);
}

TEST(Pause, NobodyWaitsForAPortThatIsDownOrAsleepOrFollowsWithoutASlot) {
  const TempBus bus(pausing());
  Port down;
  down.attach(bus.path()).value();
  auto follower = Follower::open(bus.path(), Start::now).value();
  Port asleep = port_on(bus.path(), {.name = "asleep"});
  Port sender = port_on(bus.path(), {.name = "sender"});
  std::jthread sleeper([&] { asleep.wait(std::chrono::seconds(600)); });
  const RawBus raw(bus.path());
  // Deeply: one that looks up is awake for as long as it has to wait for a CPU.
  ASSERT_TRUE(eventually([&] { return sleeps_deeply(raw, asleep.slot()); }));
  NumberedBatch batch(kLargest);
  FrameBatch own(64, 256U << 10U);
  const MacAddress nobody{{0x02, 0, 0, 0, 0, 1}};
  for (std::uint32_t next = 0; next < 20'000;) {
    const SendResult sent = sender.try_send(batch.make(1, next, NumberedBatch::kMax, nobody));
    ASSERT_FALSE(sent.error);
    next += static_cast<std::uint32_t>(sent.taken);
    static_cast<void>(sender.receive(own));  // as a port it is waited for, too
  }
  const BusInfo info = bus.info();
  for (const PortInfo& port : info.ports) EXPECT_EQ(port.stalls, 0U) << port.name;
  asleep.interrupt();
}

TEST(Pause, TrySendTakesWhatFitsAndNamesNoError) {
  const TempBus bus(pausing());
  Port reader = port_on(bus.path(), {.name = "reader"});
  Port sender = port_on(bus.path(), {.name = "sender"});
  NumberedBatch batch(kLargest);
  std::uint32_t sent = 0;
  const auto fill = [&] {
    for (;;) {
      const SendResult result = sender.try_send(batch.make(1, sent, NumberedBatch::kMax));
      EXPECT_FALSE(result.error);
      sent += static_cast<std::uint32_t>(result.taken);
      if (result.taken < NumberedBatch::kMax) return;
    }
  };
  fill();
  EXPECT_EQ(sender.try_send(batch.make(1, sent, 1)).taken, 0U);
  EXPECT_EQ(sender.patience(), milliseconds(1000));
  const std::uint32_t filled = sent;
  EXPECT_GT(filled, 100U);
  FrameBatch in(64, 256U << 10U);
  FrameBatch own(64, 256U << 10U);
  static_cast<void>(sender.receive(own));  // passes over its own frames
  EXPECT_EQ(reader.receive(in).frames, 64U);
  EXPECT_EQ(reader.receive(in).lost, 0U);
  fill();
  EXPECT_GE(sent, filled + 32) << "what was read made room";
}

TEST(Pause, TheBusTellsWhoWaitsForWhom) {
  const TempBus bus(pausing());
  Port sender = port_on(bus.path(), {.name = "sender"});
  // The wait lasts a second, in which this thread may have to wait for a CPU. Then another idler is
  // waited for, in a slot of its own: in that of the first nobody is for a while.
  std::vector<Port> idlers;
  bool shown = false;
  for (unsigned tries = 0; tries < 10 && !shown; ++tries) {
    const std::string name = "idler" + std::to_string(tries);
    const Port& idler = idlers.emplace_back(port_on(bus.path(), {.name = name}));
    std::atomic<bool> sent{false};
    std::jthread sending([&] {
      send_all(sender, 1, 0, 2'000);
      sent = true;
    });
    EXPECT_TRUE(eventually([&] {
      const BusInfo info = bus.info();
      const PortInfo* p = find(info, "sender");
      shown = p->waits_for && (*p->waits_for == idler.slot() || *p->waits_for == sender.slot());
      return shown || sent;
    }));
    sending.join();
    const BusInfo info = bus.info();
    EXPECT_FALSE(find(info, "sender")->waits_for);
    EXPECT_EQ(find(info, name)->stalls, 1U);
  }
  EXPECT_TRUE(shown);
  const BusInfo info = bus.info();
  EXPECT_GE(find(info, "sender")->pauses, 1U);
  EXPECT_GT(find(info, "sender")->paused_ns, 0U);
  EXPECT_EQ(info.flow, Flow::pause);
  EXPECT_EQ(info.patience_ns, 1'000'000'000U);
}

TEST(Pause, ABusIsEthernetUnlessAskedOtherwise) {
  const TempBus bus(small_ring());
  Port idler = port_on(bus.path(), {.name = "idler"});
  Port sender = port_on(bus.path(), {.name = "sender"});
  EXPECT_EQ(bus.info().flow, Flow::ethernet);
  EXPECT_EQ(sender.patience(), milliseconds(0));
  NumberedBatch batch(kLargest);
  for (std::uint32_t next = 0; next < 2'000; next += NumberedBatch::kMax)
    ASSERT_EQ(sender.try_send(batch.make(1, next, NumberedBatch::kMax)).taken, NumberedBatch::kMax);
  EXPECT_EQ(sender.counters().pauses, 0U);
  FrameBatch in(64, 256U << 10U);
  EXPECT_GT(idler.receive(in).lost, 0U);
}

TEST(Pause, APatienceThatIsNoneOrEndlessIsRefused) {
  const TempDir dir;
  using std::chrono::nanoseconds;
  for (const nanoseconds patience :
       {nanoseconds(0), nanoseconds(999'999), nanoseconds(1'000'000'001), nanoseconds(-5)}) {
    const auto made = Bus::create(dir.file("bus"), {.flow = Flow::pause, .patience = patience});
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, make_error_code(Errc::bad_patience));
  }
  EXPECT_TRUE(Bus::create(dir.file("least"), pausing(milliseconds(1))));
  EXPECT_TRUE(Bus::create(dir.file("most"), pausing(milliseconds(1000))));
}

}  // namespace
}  // namespace shmif::test
