// Senders that are killed or stopped at any moment, mostly in the middle of a batch.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "shmif/port.hpp"
#include "tests/process/witness.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

/// What a sender and the test share.
struct SenderPage {
  std::atomic<std::uint64_t> sent{0};
  Fuse fuse;
};

/// Sends bursts of frames that it has made before, until `stop` is set or a send fails.
int send_flat_out(const std::string& path, unsigned sender, SenderPage& page,
                  const std::atomic<bool>& stop) {
  constexpr std::uint32_t kBatch = 16;
  Port port = port_on(path, {.name = "flatout" + std::to_string(sender)});
  // A burst is long beside the time from when a signal is due to when it comes, some microseconds.
  std::vector<NumberedBatch> made(48,
                                  NumberedBatch(sender % 2 == 0 ? port.max_frame_bytes() : 560));
  bool failed = false;
  for (std::uint32_t next = 0; !stop && !failed;) {
    std::vector<std::span<const FrameView>> ready;
    for (NumberedBatch& batch : made) {
      ready.push_back(batch.make(sender, next, kBatch));
      next += kBatch;
    }
    page.fuse.burst([&] {
      for (const auto& batch : ready) {
        const SendResult result = port.send(batch);
        if ((failed = result.error || result.taken != kBatch)) return;
        page.sent = page.sent + kBatch;
      }
    });
  }
  return failed ? 1 : 0;
}

/// A port that checks all it hears.
class Checker {
 public:
  explicit Checker(const std::string& path) : port_(port_on(path, {.name = "checker"})) {
    latest_.fill(-1);
  }
  void read() {
    for (;;) {
      batch_.clear();
      ASSERT_FALSE(port_.receive(batch_).error);
      if (batch_.empty()) return;
      for (const FrameView& frame : batch_.frames()) {
        const auto n = check_numbered(frame);
        ASSERT_TRUE(n) << "frame " << frame.number << " is torn";
        ASSERT_GT(n->sequence, latest_.at(n->sender)) << "sender " << n->sender;
        latest_.at(n->sender) = n->sequence;
      }
    }
  }
  Port& port() { return port_; }
  std::int64_t latest(unsigned sender) const { return latest_.at(sender); }

 private:
  Port port_;
  FrameBatch batch_{64};
  std::array<std::int64_t, 256> latest_{};
};

/// A bus of the least size, senders in processes of their own, and one in this process that keeps
/// on sending whatever becomes of them. Its frames are of sender 0.
class FlatOut : public testing::Test {
 protected:
  Child start_sender(unsigned number) const {
    return Child(
        [this, number] { return send_flat_out(bus.path(), number, page(number), shared->stop); });
  }
  std::uint64_t sent_by(unsigned number) const { return page(number).sent; }
  /// Has the signal hit that sender in its next burst. Result: false when it sends no bursts.
  bool strike(unsigned number, int signal) {
    if (!eventually([&] { return page(number).fuse.has_burst(); })) return false;
    page(number).fuse.set(signal, random);
    return true;
  }
  /// Result: the exit code of `sender`, which goes on and is asked to end.
  int let_end(Child& sender) const {
    sender.resume();
    shared->stop = true;
    return sender.wait();
  }
  void send_steadily(std::uint32_t count) {
    const SendResult result = steady.send(frames.make(0, sequence, count));
    ASSERT_FALSE(result.error) << result.error.message();
    sequence += count;
  }
  void expect_clean_without_claims() const {
    for (const PortInfo& p : bus.info().ports) EXPECT_FALSE(p.claim_bytes) << p.name;
    EXPECT_TRUE(is_clean(bus.audit()));
  }

  const TempBus bus{small_ring()};
  Port steady = port_on(bus.path(), {.name = "steady"});
  std::uint32_t sequence = 0;  ///< of the next steady frame
  std::mt19937_64 random{announced_seed()};

 private:
  struct Senders {
    std::atomic<bool> stop{false};
    std::array<SenderPage, 256> pages{};
  };
  SenderPage& page(unsigned number) const { return shared->pages.at(number); }

  const Shared<Senders> shared;
  NumberedBatch frames{steady.max_frame_bytes()};
};
using Kill = FlatOut;
using Stop = FlatOut;

TEST_F(Kill, SendersKilledAtAnyMomentCostTheOthersNothing) {
  constexpr unsigned kRounds = kSanitized ? 20 : 120;
  constexpr unsigned kMaxRounds = 240;  // until one was killed in the middle of a batch
  Checker checker(bus.path());
  const auto none_yet = [&] {
    const BusInfo info = bus.info();
    return info.takeovers_dead + info.takeovers_living == 0;
  };
  for (unsigned round = 1; round <= kRounds || (round <= kMaxRounds && none_yet()); ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Child sender = start_sender(round);
    ASSERT_TRUE(strike(round, SIGKILL));
    ASSERT_EQ(sender.wait(), 128 + SIGKILL);
    checker.read();
    for (unsigned i = 0; i < 40; ++i) {  // a lap or more
      ASSERT_NO_FATAL_FAILURE(send_steadily(4));
      checker.read();
    }
    ASSERT_EQ(checker.latest(0), sequence - 1);
  }
  const BusInfo info = bus.info();
  EXPECT_GT(info.takeovers_dead + info.takeovers_living, 0U) << "none was killed in a batch";
  expect_clean_without_claims();
  EXPECT_EQ(passed(checker.port().counters()), info.frames);
}

TEST_F(Stop, ASenderStoppedWhileItSendsFlatOutDoesNotHoldUpTheOthersAndTearsNothingWhenItGoesOn) {
  constexpr unsigned kRounds = kSanitized ? 10 : 40;
  constexpr unsigned kMaxRounds = 1000;  // until it was stopped in the middle of a batch
  Checker checker(bus.path());
  unsigned held_the_lock = 0;
  Child sender = start_sender(1);
  for (unsigned round = 0; round < kRounds || (round < kMaxRounds && held_the_lock == 0); ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    ASSERT_TRUE(strike(1, SIGSTOP) && sender.wait_until_stopped());
    held_the_lock += bus.info().lock_holder ? 1U : 0U;
    for (unsigned i = 0; i < 200; ++i) {  // several laps
      ASSERT_NO_FATAL_FAILURE(send_steadily(4));
      checker.read();
    }
    ASSERT_EQ(checker.latest(0), sequence - 1) << "heard while the other was stopped";
    ASSERT_TRUE(is_clean(bus.audit()));
    sender.resume();
  }
  EXPECT_EQ(let_end(sender), 0);
  checker.read();
  const BusInfo info = bus.info();
  EXPECT_GT(held_the_lock, 0U) << "never stopped in the middle of a batch";
  EXPECT_GT(info.takeovers_living, 0U);
  EXPECT_EQ(info.frames, sequence + sent_by(1)) << "each was sent exactly once";
  EXPECT_EQ(passed(checker.port().counters()), info.frames);
  EXPECT_TRUE(is_clean(bus.audit()));
}

TEST_F(Stop, TheClaimOfAStoppedSenderIsShownAndGoesAwayWhenItGoesOn) {
  Child sender = start_sender(1);
  const auto claims = [&] {
    std::uint64_t bytes = 0;
    for (const PortInfo& p : bus.info().ports) bytes += p.claim_bytes.value_or(0);
    return bytes;
  };
  bool caught = false;
  for (unsigned tries = 0; tries < 2000 && !caught; ++tries) {
    ASSERT_TRUE(strike(1, SIGSTOP) && sender.wait_until_stopped());
    if (bus.info().lock_holder) {
      ASSERT_NO_FATAL_FAILURE(send_steadily(1));  // takes the lock over
      caught = claims() != 0;
    }
    if (!caught) sender.resume();
  }
  ASSERT_TRUE(caught) << "never stopped with a claim";
  EXPECT_LE(claims(), (64U << 10U) / 4);
  EXPECT_EQ(let_end(sender), 0);
  EXPECT_EQ(claims(), 0U);
  EXPECT_TRUE(is_clean(bus.audit()));
}

TEST_F(Kill, AStoppedSenderThatIsThenKilledLeavesNoClaim) {
  for (unsigned round = 1; round <= 10; ++round) {
    Child sender = start_sender(round);
    ASSERT_TRUE(strike(round, SIGSTOP) && sender.wait_until_stopped());
    ASSERT_NO_FATAL_FAILURE(send_steadily(1));
    sender.kill_and_wait();
    for (unsigned i = 0; i < 100; ++i) ASSERT_NO_FATAL_FAILURE(send_steadily(8));
  }
  expect_clean_without_claims();
}

// What --flow pause promises: no frame is lost while every port goes on reading, and a port that
// does not read costs the others little.

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
