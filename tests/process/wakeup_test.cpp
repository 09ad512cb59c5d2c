// Wakeups: none is lost, nobody is woken in vain, and who has nothing to do uses no CPU.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <thread>

#include "bus/file/liveness.hpp"
#include "bus/port/doorbell.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using std::chrono::milliseconds;
constexpr auto kForEver = std::chrono::nanoseconds::max();

struct RoundsDone {
  std::array<std::atomic<std::uint64_t>, 2> rounds{};
};

/// Waits until both sides are done, as long as they get on. Result: false when they stand still.
bool finish(const RoundsDone& progress, std::uint64_t rounds) {
  for (std::uint64_t seen = 0;;) {
    const auto sum = [&] { return progress.rounds[0] + progress.rounds[1]; };
    if (!eventually([&] { return sum() == 2 * rounds || sum() > seen; })) return false;
    if (sum() == 2 * rounds) return true;
    seen = sum();
  }
}

/// One side of a ping-pong that sleeps without ever looking up by itself, so that a single lost
/// wakeup stops both.
int play_on_futex(const std::string& path, RoundsDone& progress, unsigned side,
                  std::uint64_t rounds) {
  RawBus raw(path);
  if (!bus::take_liveness(raw.fd(), side)) return 1;
  raw.slot(side).state = bus::slot_state(bus::SlotState::live, 1);
  bus::BusLock lock(raw.header(), side, -1);
  bus::RingWriter writer(raw.ring(), side, 1);
  bus::RingReader reader(raw.ring(), &raw.slot(side), side, 1, false);
  bus::Bell bell(raw.ring(), side, -1);
  bus::Sleeper sleeper(raw.ring(), side);
  NumberedBatch frames(60);
  FrameBatch in;
  bus::ReadTally tally;
  if (!reader.seek_oldest()) return 2;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    if (round % 2 == side) {
      const auto batch = frames.make(side, static_cast<std::uint32_t>(round), 1);
      const std::uint64_t mine = lock.acquire();
      writer.append(mine, plan_batch(batch), 1);
      const bus::Wanted sleepers =
          bell.collect(batch, writer.batch_position(), writer.batch_number());
      lock.release(mine);
      bell.wake(sleepers);
    } else {
      while (tally.frames < (round + 1 + side) / 2) {
        for (std::uint64_t i = 0; i < round % 64; ++i) bus::cpu_relax();  // vary who is first
        sleeper.announce(false);
        if (!reader.ready()) sleeper.sleep(kForEver);
        sleeper.withdraw();
        in.clear();
        reader.read(in, tally);
      }
    }
    ++progress.rounds.at(side);
  }
  return 0;
}

TEST(Wakeup, ANewEpochEndsAWaitAlthoughNoFrameCame) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  Port port = port_on(bus.path());
  bus::fetch_add(raw.header().epoch, std::uint64_t{1});  // as by a repair
  // It would else look for a frame again and again, for as long as it may wait.
  EXPECT_TRUE(port.wait(std::chrono::hours(1)));
  FrameBatch batch;
  EXPECT_FALSE(port.receive(batch).error);
  EXPECT_FALSE(port.wait(std::chrono::milliseconds(1))) << "it is new once";
}

TEST(Wakeup, NoneIsLostInManyRoundsOfPingPongBetweenProcessesThatSleepOnTheFutex) {
  const std::uint64_t rounds = kSanitized ? 10'000 : 200'000;
  const TempBus bus(small_ring());
  RawBus(bus.path()).header().slots_used = 2;
  const Shared<RoundsDone> progress;
  Child a([&] { return play_on_futex(bus.path(), *progress, 0, rounds); });
  Child b([&] { return play_on_futex(bus.path(), *progress, 1, rounds); });
  EXPECT_TRUE(finish(*progress, rounds)) << progress->rounds[0] << " " << progress->rounds[1];
}

/// Reads frame after frame, falling asleep before each without ever looking up by itself.
int fall_asleep(const std::string& path, RoundsDone& progress, std::uint64_t rounds) {
  RawBus raw(path);
  raw.slot(1).state = bus::slot_state(bus::SlotState::live, 1);
  bus::RingReader reader(raw.ring(), &raw.slot(1), 1, 1, false);
  bus::Sleeper sleeper(raw.ring(), 1);
  FrameBatch in;
  bus::ReadTally tally;
  if (!reader.seek_oldest()) return 1;
  while (tally.frames < rounds) {
    progress.rounds[1] = tally.frames;  // now the next may come
    while (tally.frames == progress.rounds[1]) {
      sleeper.announce(false);
      if (!reader.ready()) sleeper.sleep(kForEver);
      sleeper.withdraw();
      in.clear();
      reader.read(in, tally);
    }
  }
  progress.rounds[1] = rounds;
  return 0;
}

/// Sends each frame just when the other is about to fall asleep.
int send_as_it_falls_asleep(const std::string& path, RoundsDone& progress, std::uint64_t rounds) {
  RawBus raw(path);
  raw.slot(0).state = bus::slot_state(bus::SlotState::live, 1);
  bus::BusLock lock(raw.header(), 0, -1);
  bus::RingWriter writer(raw.ring(), 0, 1);
  bus::Bell bell(raw.ring(), 0, -1);
  NumberedBatch frames(60);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const auto batch = frames.make(0, static_cast<std::uint32_t>(round), 1);
    while (progress.rounds[1] < round) bus::cpu_relax();
    for (std::uint64_t i = 0; i < round % 8; ++i) bus::cpu_relax();
    const std::uint64_t mine = lock.acquire();
    writer.append(mine, plan_batch(batch), 1);
    const bus::Wanted sleepers =
        bell.collect(batch, writer.batch_position(), writer.batch_number());
    lock.release(mine);
    bell.wake(sleepers);
    progress.rounds[0] = round + 1;
  }
  return 0;
}

TEST(Wakeup, NoneIsLostWhenAFrameComesJustWhileThePortFallsAsleep) {
  const std::uint64_t rounds = kSanitized ? 10'000 : 1'000'000;
  const TempBus bus(small_ring());
  RawBus(bus.path()).header().slots_used = 2;
  const Shared<RoundsDone> progress;
  Child sleeper([&] { return fall_asleep(bus.path(), *progress, rounds); });
  Child sender([&] { return send_as_it_falls_asleep(bus.path(), *progress, rounds); });
  EXPECT_TRUE(finish(*progress, rounds)) << progress->rounds[0] << " " << progress->rounds[1];
}

TEST(Wakeup, APortThatHasSleptDeeplyForALongTimeIsWokenByTheFirstFrame) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  Port sleeper = port_on(bus.path());
  NumberedBatch frames(60);
  for (std::uint32_t round = 0; round < 2; ++round) {
    std::atomic<bool> woken{false};
    std::jthread thread([&] { woken = sleeper.wait(kForEver); });
    ASSERT_TRUE(eventually([&] { return is_set(raw.header().deep_sleepers, sleeper.slot()); }));
    EXPECT_FALSE(sender.send(frames.make(0, round, 1)).error);
    thread.join();
    EXPECT_TRUE(woken);
    FrameBatch in;
    EXPECT_EQ(sleeper.receive(in).frames, 1U);
    EXPECT_FALSE(is_set(raw.header().deep_sleepers, sleeper.slot()));
    EXPECT_FALSE(is_set(raw.header().sleepers, sleeper.slot()));
  }
  EXPECT_GE(sleeper.counters().wakeups, 2U);
  EXPECT_EQ(sender.counters().doorbells, 2U);
}

TEST(Wakeup, ADeepSleeperThatIsStoppedIsRungOnceByEachSender) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const Shared<std::atomic<int>> shown;
  *shown = -1;
  Child sleeper([&] {
    Port port = port_on(bus.path());
    *shown = static_cast<int>(port.slot());
    if (!port.wait(kForEver)) return 1;
    FrameBatch in;
    return port.receive(in).frames > 0 ? 0 : 2;
  });
  ASSERT_TRUE(eventually(
      [&] { return *shown >= 0 && sleeps_deeply(raw, static_cast<unsigned>(shown->load())); }));
  sleeper.stop();
  // It cannot take its bit back. If each frame rang it, each would cost the sender a system call.
  NumberedBatch frames(60);
  for (int senders = 0; senders < 2; ++senders) {
    Port sender = port_on(bus.path());
    for (std::uint32_t i = 0; i < 50; ++i) EXPECT_FALSE(sender.send(frames.make(0, i, 1)).error);
    EXPECT_EQ(sender.counters().doorbells, 1U);
  }
  sleeper.resume();
  EXPECT_EQ(sleeper.wait(), 0) << "and that one ring was enough";
}

TEST(Wakeup, AFrameWhoseSenderDiedBeforeItRangIsNoticedAllTheSame) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  Port sleeper = port_on(bus.path());
  bus::BusLock lock(raw.header(), 200, raw.fd());
  // Held from the start, as nobody sleeps deeply meanwhile, however long this test is kept waiting.
  const std::uint64_t mine = lock.acquire();
  std::atomic<bool> woken{false};
  std::jthread thread([&] { woken = sleeper.wait(kForEver); });
  ASSERT_TRUE(eventually([&] { return is_set(raw.header().sleepers, sleeper.slot()); }));
  // A commit, and no bell. The sleeper does not sleep deeply, so it looks up.
  bus::RingWriter writer(raw.ring(), 200, 1);
  NumberedBatch frames(60);
  const auto batch = frames.make(0, 0, 1);
  EXPECT_EQ(writer.append(mine, plan_batch(batch), 1), bus::AppendStatus::done);
  lock.release(mine);
  thread.join();
  EXPECT_TRUE(woken);
  EXPECT_EQ(sleeper.counters().wakeups, 0U) << "nobody rang";
}

TEST(Wakeup, NobodySleepsDeeplyWhileTheLockIsHeld) {
  // Its holder may have looked for deep sleepers already, and die between commit and bell.
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  Port sleeper = port_on(bus.path());
  const std::uint64_t held = raw.lock_as(sleeper.slot());
  std::jthread thread([&] { sleeper.wait(kForEver); });
  std::this_thread::sleep_for(4 * bus::kIdleUntilDeep);
  EXPECT_FALSE(is_set(raw.header().deep_sleepers, sleeper.slot()));
  bus::compare_and_swap(raw.header().lock, held, bus::lock_word::freed(held));
  EXPECT_TRUE(eventually([&] { return is_set(raw.header().deep_sleepers, sleeper.slot()); }));
  sleeper.interrupt();
}

TEST(Wakeup, AFrameForOneOfManySleepersWakesThatOneAlone) {
  constexpr unsigned kPorts = 5;
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  std::vector<Port> ports;
  for (unsigned i = 0; i < kPorts; ++i) ports.push_back(port_on(bus.path()));
  std::vector<std::jthread> threads;
  for (Port& p : ports) threads.emplace_back([&p] { p.wait(kForEver); });
  ASSERT_TRUE(eventually([&] {
    return std::ranges::all_of(ports, [&](const Port& p) { return sleeps_deeply(raw, p.slot()); });
  }));
  NumberedBatch frames(60);
  EXPECT_FALSE(sender.send(frames.make(0, 0, 1, ports[3].mac())).error);
  threads[3].join();
  for (unsigned i = 0; i < kPorts; ++i) {
    if (i == 3) continue;
    EXPECT_EQ(bus::load_seq_cst(raw.slot(ports[i].slot()).futex), 0U) << "port " << i;
    EXPECT_TRUE(is_set(raw.header().sleepers, ports[i].slot())) << "port " << i << " was woken";
    ports[i].interrupt();
  }
  threads.clear();
  EXPECT_GE(ports[3].counters().wakeups, 1U);
}

TEST(Wakeup, ARepairWakesWhoSleepsDeeplyThoughTheHeaderForgotThat) {
  const TempBus bus;
  const RawBus raw(bus.path());
  Port by_futex = port_on(bus.path());
  Port by_descriptor = port_on(bus.path());
  std::jthread waits([&] { EXPECT_TRUE(by_futex.wait(std::chrono::seconds(20))); });
  ASSERT_TRUE(eventually([&] { return sleeps_deeply(raw, by_futex.slot()); }));
  const int fd = by_descriptor.descriptor();
  while (!sleeps_deeply(raw, by_descriptor.slot())) {
    pollfd p{.fd = fd, .events = POLLIN, .revents = 0};
    ASSERT_FALSE(by_descriptor.prepare_wait().ready);
    if (sleeps_deeply(raw, by_descriptor.slot())) break;
    poll(&p, 1, 50);
    by_descriptor.finish_wait();
  }
  bus::BusHeader& header = raw.header();
  for (auto* const bits : {header.sleepers, header.deep_sleepers})
    std::fill_n(bits, bus::kBitmapWords, 0);
  header.slots_used = 0;
  ASSERT_TRUE(Bus::open(bus.path(), Access::read_write).value().repair());
  pollfd woken{.fd = fd, .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&woken, 1, 20'000), 1);
}

TEST(Wakeup, NobodyAsleepMeansThatNoDoorbellIsRung) {
  const TempBus bus;
  Port sender = port_on(bus.path());
  Port awake = port_on(bus.path());
  NumberedBatch frames(60);
  for (std::uint32_t i = 0; i < 1000; ++i) EXPECT_FALSE(sender.send(frames.make(0, i, 1)).error);
  EXPECT_EQ(sender.counters().doorbells, 0U);
  FrameBatch in(2000, 1U << 20U);
  EXPECT_EQ(awake.receive(in).frames, 1000U);
}

TEST(Wakeup, OneBatchRingsOnceHoweverManyItWakes) {
  const TempBus bus;
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  Port a = port_on(bus.path());
  Port b = port_on(bus.path());
  {
    std::jthread ta([&] { a.wait(kForEver); });
    std::jthread tb([&] { b.wait(kForEver); });
    // Deeply: both could be looking up just now, and then nobody would have to be rung.
    ASSERT_TRUE(
        eventually([&] { return sleeps_deeply(raw, a.slot()) && sleeps_deeply(raw, b.slot()); }));
    NumberedBatch frames(60);
    EXPECT_FALSE(sender.send(frames.make(0, 0, 30)).error);
  }
  EXPECT_EQ(sender.counters().doorbells, 1U);
}

TEST(Wakeup, InterruptEndsTheWaitOfThisPortOnly) {
  const TempBus bus;
  const RawBus raw(bus.path());
  Port a = port_on(bus.path());
  Port b = port_on(bus.path());
  std::atomic<int> returned{0};
  std::jthread ta([&] {
    EXPECT_FALSE(a.wait(kForEver));
    ++returned;
  });
  std::jthread tb([&] {
    EXPECT_FALSE(b.wait(kForEver));
    ++returned;
  });
  ASSERT_TRUE(eventually([&] {
    return is_set(raw.header().sleepers, a.slot()) && is_set(raw.header().sleepers, b.slot());
  }));
  a.interrupt();
  ta.join();
  EXPECT_EQ(returned, 1);
  b.interrupt();
}

TEST(Wakeup, AnInterruptBeforeTheWaitEndsTheWaitToo) {
  const TempBus bus;
  Port port = port_on(bus.path());
  port.interrupt();
  EXPECT_FALSE(port.wait(kForEver));
}

TEST(Wakeup, GoingDownEndsAWaitAndTheNextWaitAfterUpIsAWholeOne) {
  const TempBus bus;
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  Port port = port_on(bus.path());
  std::jthread thread([&] { EXPECT_FALSE(port.wait(kForEver)); });
  ASSERT_TRUE(eventually([&] { return is_set(raw.header().sleepers, port.slot()); }));
  EXPECT_FALSE(port.down());
  thread.join();
  EXPECT_FALSE(port.wait(kForEver)) << "down: no wait at all";
  EXPECT_FALSE(port.up());
  thread = std::jthread([&] { EXPECT_TRUE(port.wait(kForEver)) << "ended by the old down()"; });
  ASSERT_TRUE(eventually([&] { return is_set(raw.header().sleepers, port.slot()); }));
  NumberedBatch frames(60);
  EXPECT_FALSE(sender.send(frames.make(0, 0, 1)).error);
}

TEST(Wakeup, AWaitPassesOverFramesForOthersAndCountsThem) {
  const TempBus bus;
  Port sender = port_on(bus.path());
  Port port = port_on(bus.path());
  NumberedBatch frames(60);
  for (std::uint32_t i = 0; i < 100; ++i) {
    EXPECT_FALSE(sender.send(frames.make(0, i, 1, *MacAddress::parse("02:00:00:00:99:99"))).error);
  }
  EXPECT_FALSE(port.wait(milliseconds(1)));
  EXPECT_EQ(port.counters().filtered_frames, 100U);
}

TEST(Wakeup, AnOverrunThatAWaitMetIsToldByTheNextReceive) {
  const TempBus bus(small_ring());
  Port sender = port_on(bus.path());
  Port port = port_on(bus.path());
  NumberedBatch frames(1500);
  for (std::uint32_t i = 0; i < 500; ++i) EXPECT_FALSE(sender.send(frames.make(0, i, 1)).error);
  EXPECT_TRUE(port.wait(kForEver));
  std::uint64_t lost = 0;
  std::uint64_t heard = 0;
  FrameBatch in;
  for (ReceiveResult r{1, 0, {}}; r.frames != 0;) {
    in.clear();
    r = port.receive(in);
    lost += r.lost;
    heard += r.frames;
  }
  EXPECT_GT(lost, 0U);
  EXPECT_EQ(heard + lost, 500U);
  EXPECT_EQ(port.counters().lost_frames, lost);
}

TEST(Idle, APortThatWaitsOnAnIdleBusDoesNotRun) {
  const TempBus bus;
  const RawBus raw(bus.path());
  const Shared<std::atomic<int>> slot;
  *slot = -1;
  for (const bool by_descriptor : {false, true}) {
    *slot = -1;
    Child idle([&] {
      Port port = port_on(bus.path());
      const int fd = by_descriptor ? port.descriptor() : -1;
      *slot = static_cast<int>(port.slot());
      if (!by_descriptor) return port.wait(kForEver) ? 0 : 1;
      for (;;) {
        const WaitHint hint = port.prepare_wait();
        if (hint.ready) return 0;
        pollfd p{.fd = fd, .events = POLLIN, .revents = 0};
        poll(&p, 1, hint.at_most == kForEver ? -1 : 50);
        port.finish_wait();
      }
    });
    const auto status = [&](const std::string& name) {
      std::ifstream file("/proc/" + std::to_string(idle.pid()) + "/status");
      std::string word;
      while (file >> word && word != name) {
      }
      file >> word;
      return word;
    };
    const auto switches = [&] { return status("voluntary_ctxt_switches:"); };
    const auto sleeps = [&] {
      return *slot >= 0 && sleeps_deeply(raw, static_cast<unsigned>(slot->load())) &&
             status("State:") == "S";
    };
    ASSERT_TRUE(eventually(sleeps));
    // On a busy machine the port may still be on its way into that sleep, and count it only now.
    // So the time in which it does not run begins anew if it has run. One that looks up now and
    // then never gets through it.
    ASSERT_GT(std::stol(switches()), 0);
    EXPECT_TRUE(eventually([&] {
      const std::string before = switches();
      std::this_thread::sleep_for(milliseconds(1500));
      return sleeps() && switches() == before;
    })) << (by_descriptor ? "by descriptor" : "by futex");
    Port sender = port_on(bus.path());
    NumberedBatch frames(60);
    EXPECT_FALSE(sender.send(frames.make(0, 0, 1)).error);
    EXPECT_EQ(idle.wait(), 0);
  }
}

}  // namespace
}  // namespace shmif::test
