// Receiver: a thread that hands frames to a callback, and how it ends.

#include "shmif/receiver.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>

#include "shmif/log.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

struct ReceiverRig {
  std::error_code send(std::uint32_t sequence, std::size_t count = 1) {
    return sender.send(frames.make(1, sequence, count)).error;
  }
  TempBus bus;
  Port sender = port_on(bus.path(), {.name = "sender"});
  Port port = port_on(bus.path(), {.name = "port"});
  NumberedBatch frames{60};
};

TEST(Receiver, HandsEveryFrameToTheCallbackInOrder) {
  ReceiverRig rig;
  std::atomic<std::uint32_t> next{0};
  Receiver receiver(rig.port, [&](std::span<const FrameView> frames) {
    for (const FrameView& f : frames) EXPECT_EQ(check_numbered(f).value().sequence, next++);
  });
  for (std::uint32_t i = 0; i < 1000; i += 10) {
    ASSERT_FALSE(rig.send(i, 10));
    if (i % 100 == 0) {
      EXPECT_TRUE(eventually([&] { return next == i + 10; }));  // let it fall asleep
    }
  }
  EXPECT_TRUE(eventually([&] { return next == 1000; }));
  EXPECT_TRUE(receiver.running());
  receiver.stop();
  EXPECT_FALSE(receiver.running());
  EXPECT_FALSE(receiver.error());
}

TEST(Receiver, NoCallbackRunsAfterStopHasReturned) {
  for (unsigned round = 0; round < 30; ++round) {
    ReceiverRig rig;
    std::atomic<bool> stopped{false};
    std::atomic<bool> late{false};
    std::atomic<std::uint64_t> calls{0};
    Receiver receiver(rig.port, [&](auto) {
      ++calls;
      if (stopped) late = true;
    });
    std::jthread flood([&](const std::stop_token& stop) {
      NumberedBatch frames(60);
      for (std::uint32_t i = 0; !stop.stop_requested(); ++i)
        static_cast<void>(rig.sender.send(frames.make(1, i, 1)));
    });
    ASSERT_TRUE(eventually([&] { return calls > round % 5; }));
    receiver.stop();
    stopped = true;
    const std::uint64_t after = calls;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_FALSE(late);
    EXPECT_EQ(calls, after);
  }
}

TEST(Receiver, StopWakesItFromADeepSleepAndMayComeFromSeveralThreads) {
  ReceiverRig rig;
  const RawBus raw(rig.bus.path());
  Receiver receiver(rig.port, [](auto) {});
  const unsigned slot = rig.port.slot();
  ASSERT_TRUE(eventually(
      [&] { return (bus::load_seq_cst(raw.header().deep_sleepers[0]) >> slot & 1U) != 0; }));
  {
    std::jthread other([&] { receiver.stop(); });
    receiver.stop();
  }
  EXPECT_FALSE(receiver.running());
  receiver.stop();  // again: nothing
}

TEST(Receiver, StopInsideTheCallbackDoesNotDeadlockAndIsTheLastCall) {
  ReceiverRig rig;
  std::unique_ptr<Receiver> receiver;
  std::atomic<bool> made{false};
  std::atomic<unsigned> calls{0};
  receiver = std::make_unique<Receiver>(rig.port, [&](auto) {
    while (!made) std::this_thread::yield();
    ++calls;
    receiver->stop();
  });
  made = true;
  ASSERT_FALSE(rig.send(0));
  EXPECT_TRUE(eventually([&] { return !receiver->running(); }));
  ASSERT_FALSE(rig.send(1));
  receiver.reset();
  EXPECT_EQ(calls, 1U);
}

TEST(Receiver, ACallbackThatThrowsEndsItWithAReportedError) {
  ASSERT_TRUE(set_log_level("off"));
  for (const bool standard : {true, false}) {
    ReceiverRig rig;
    std::atomic<unsigned> calls{0};
    Receiver receiver(rig.port, [&](auto) {
      ++calls;
      if (standard) throw std::runtime_error("enough");
      throw 42;
    });
    ASSERT_FALSE(rig.send(0));
    EXPECT_TRUE(eventually([&] { return !receiver.running(); }));
    EXPECT_EQ(receiver.error(), Errc::link_ended);
    ASSERT_FALSE(rig.send(1));
    receiver.stop();
    EXPECT_EQ(calls, 1U);
    EXPECT_EQ(receiver.error(), Errc::link_ended) << "still known after stop()";
  }
  ASSERT_TRUE(set_log_level("warning"));
}

TEST(Receiver, FramesThatCameBeforeAnErrorAreHandedOverFirst) {
  ReceiverRig rig;
  const RawBus raw(rig.bus.path());
  for (std::uint32_t i = 0; i < 5; ++i) ASSERT_FALSE(rig.send(i));
  raw.ring().record(raw.header().last).word = 0x1234;
  std::atomic<unsigned> heard{0};
  Receiver receiver(rig.port, [&](auto frames) { heard += static_cast<unsigned>(frames.size()); });
  EXPECT_TRUE(eventually([&] { return receiver.failed_receives() > 2; }));
  EXPECT_EQ(heard, 5U);
}

/// How often a thread of this process has gone to sleep.
std::uint64_t sleeps_of(pid_t thread) {
  std::ifstream status("/proc/self/task/" + std::to_string(thread) + "/status");
  const std::string key = "voluntary_ctxt_switches:";
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key, 0) == 0) return std::stoull(line.substr(key.size()));
  }
  throw std::runtime_error("no count of voluntary context switches");
}

/// Waits until a thread has not gone to sleep anew, nor woken, for `quiet`.
bool sleeps_for(pid_t thread, std::chrono::milliseconds quiet) {
  std::uint64_t before = sleeps_of(thread);
  return eventually(
      [&] {
        std::this_thread::sleep_for(quiet);
        return std::exchange(before, sleeps_of(thread)) == before;
      },
      std::chrono::seconds(10));
}

TEST(Receiver, SleepsWithoutLookingUpWhileThePortIsDownAndWakesForUpAndStop) {
  ReceiverRig rig;
  std::atomic<pid_t> thread{0};
  std::atomic<unsigned> heard{0};
  Receiver receiver(rig.port, [&](auto frames) {
    thread = gettid();
    heard += static_cast<unsigned>(frames.size());
  });
  for (unsigned round = 1; round <= 3; ++round) {
    ASSERT_FALSE(rig.send(round));
    ASSERT_TRUE(eventually([&] { return heard == round; }));
    ASSERT_FALSE(rig.port.down());
    EXPECT_TRUE(sleeps_for(thread, std::chrono::milliseconds(200)));
    ASSERT_FALSE(rig.send(0)) << "for a port that is down nobody rings";
    EXPECT_TRUE(sleeps_for(thread, std::chrono::milliseconds(50)));
    ASSERT_FALSE(rig.port.up());
  }
  ASSERT_FALSE(rig.port.down());
  EXPECT_TRUE(sleeps_for(thread, std::chrono::milliseconds(50)));
  receiver.stop();
  EXPECT_FALSE(receiver.running());
  EXPECT_FALSE(receiver.error());
}

TEST(Receiver, StopsWhateverThePortDoesAtThatMoment) {
  for (unsigned round = 0; round < 60; ++round) {
    ReceiverRig rig;
    Receiver receiver(rig.port, [](auto) {});
    std::jthread toggle([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        static_cast<void>(rig.port.down());
        if (round % 2 == 0) static_cast<void>(rig.port.up());
      }
    });
    std::this_thread::sleep_for(std::chrono::microseconds(round * 30));
    receiver.stop();
    EXPECT_FALSE(receiver.running());
  }
}

TEST(Receiver, GoesOnWhenAPeerOverwritesThatThePortIsUp) {
  ReceiverRig rig;
  const RawBus raw(rig.bus.path());
  std::atomic<unsigned> heard{0};
  Receiver receiver(rig.port, [&](auto frames) { heard += static_cast<unsigned>(frames.size()); });
  bus::fetch_and(raw.slot(rig.port.slot()).flags, ~bus::kFlagUp);
  rig.port.interrupt();
  EXPECT_TRUE(eventually([&] {
    rig.send(1);
    return heard > 0;
  }));
}

TEST(PortWaitUntilUp, AnswersAtOnceWhereThereIsNothingToWaitForAndEndsWithAnInterrupt) {
  EXPECT_FALSE(Port().wait_until_up()) << "not linked";
  ReceiverRig rig;
  EXPECT_TRUE(rig.port.wait_until_up()) << "up already";
  ASSERT_FALSE(rig.port.down());
  rig.port.interrupt();
  EXPECT_FALSE(rig.port.wait_until_up()) << "interrupted before";
  std::atomic<int> answer{-1};
  std::jthread waiter([&] { answer = rig.port.wait_until_up() ? 1 : 0; });
  while (answer < 0) {
    rig.port.interrupt();  // during, whenever that begins
    std::this_thread::yield();
  }
  EXPECT_EQ(answer, 0);
}

/// An interrupt ends one wait, whichever comes first, and no other.
TEST(PortWaitUntilUp, WaitsAgainAfterAnInterruptThatEndedAnother) {
  ReceiverRig rig;
  ASSERT_FALSE(rig.port.down());
  for (unsigned round = 0; round < 3; ++round) {
    rig.port.interrupt();
    EXPECT_FALSE(rig.port.wait_until_up());
    std::atomic<int> answer{-1};
    std::jthread waiter([&] { answer = rig.port.wait_until_up() ? 1 : 0; });
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(answer, -1) << "it waits";
    ASSERT_FALSE(rig.port.up());
    waiter.join();
    EXPECT_EQ(answer, 1);
    ASSERT_FALSE(rig.port.down());
  }
  rig.port.interrupt();
  EXPECT_FALSE(rig.port.wait_until_up());
  ASSERT_FALSE(rig.port.up());
  ASSERT_FALSE(rig.send(0));
  EXPECT_TRUE(rig.port.wait(std::chrono::seconds(20))) << "nor a wait for frames";
}

TEST(Receiver, ThePortMayGoDownAndUpWhileItRunsAndNothingIsHeardTwiceOrUncounted) {
  ReceiverRig rig;
  std::atomic<std::int64_t> latest{-1};
  std::atomic<std::uint64_t> heard{0};
  std::atomic<unsigned> disorder{0};
  Receiver receiver(rig.port, [&](std::span<const FrameView> frames) {
    for (const FrameView& f : frames) {
      const auto n = check_numbered(f);
      if (!n || n->sequence <= latest) ++disorder;
      if (n) latest = n->sequence;
      ++heard;
    }
  });
  constexpr std::uint32_t kFrames = kSanitized ? 5'000 : 100'000;
  std::jthread flood([&] {
    NumberedBatch frames(60);
    for (std::uint32_t i = 0; i < kFrames; i += 5)
      static_cast<void>(rig.sender.send(frames.make(1, i, 5)));
  });
  for (unsigned i = 0; i < 300; ++i) {
    EXPECT_FALSE(rig.port.down());
    EXPECT_FALSE(rig.port.up());
    std::this_thread::yield();
  }
  flood.join();
  EXPECT_TRUE(eventually([&] { return passed(rig.port.counters()) == kFrames; }));
  receiver.stop();
  EXPECT_EQ(disorder, 0U);
  EXPECT_EQ(rig.port.counters().rx_frames, heard);
  EXPECT_EQ(passed(rig.port.counters()), kFrames);
}

TEST(Receiver, ABrokenRingEndsItWithTheErrorAfterSomePatienceInsteadOfLooping) {
  ReceiverRig rig;
  const RawBus raw(rig.bus.path());
  Receiver receiver(rig.port, [](auto) {});
  raw.ring().record(0).word = 0x1234;
  EXPECT_EQ(rig.sender.send(rig.frames.make(1, 0, 1)).error, Errc::corrupt);
  rig.port.interrupt();
  EXPECT_TRUE(eventually([&] { return !receiver.running(); }));
  EXPECT_EQ(receiver.error(), Errc::corrupt);
  EXPECT_EQ(receiver.failed_receives(), 100U);
}

TEST(Receiver, CorruptionThatIsMendedAgainAndAgainDoesNotEndIt) {
  ReceiverRig rig;
  const RawBus raw(rig.bus.path());
  std::atomic<std::uint32_t> heard{0};
  Receiver receiver(rig.port, [&](auto frames) { heard += static_cast<unsigned>(frames.size()); });
  // It has patience for 100 failures, and meets more than that, though never more than a few in a
  // row.
  for (std::uint32_t sent = 0; receiver.failed_receives() < 150; ++sent) {
    std::uint64_t& end = raw.ring().record(raw.header().last).word;
    const std::uint64_t sound = bus::load_seq_cst(end);
    bus::store_seq_cst(end, std::uint64_t{0x1234});
    const std::uint64_t before = receiver.failed_receives();
    rig.port.interrupt();
    ASSERT_TRUE(eventually([&] { return receiver.failed_receives() >= before + 10; }));
    bus::store_seq_cst(end, sound);
    ASSERT_FALSE(rig.send(sent));
    ASSERT_TRUE(eventually([&] { return heard == sent + 1 || !receiver.running(); }));
    ASSERT_TRUE(receiver.running()) << receiver.error().message();
  }
}

TEST(Receiver, ThatStopsDoesNotEndASendOfItsPortThatWaitsForRoom) {
  BusOptions options = small_ring();
  options.flow = Flow::pause;
  options.patience = std::chrono::milliseconds(100);
  const TempBus bus(options);
  Port port = port_on(bus.path(), {.name = "port"});
  const Port slow = port_on(bus.path(), {.name = "slow"});
  std::atomic<bool> sent{false};
  SendResult result;
  std::jthread sender([&] {
    NumberedBatch frames(60);
    for (std::uint32_t i = 0; i < 1000 && !result.error; ++i) {
      result = port.send(frames.make(1, i, 1));
    }
    sent = true;
  });
  while (!sent) {
    Receiver receiver(port, [](auto) {});
    receiver.stop();
  }
  sender.join();
  EXPECT_FALSE(result.error) << result.error.message();
  EXPECT_EQ(result.taken, 1U);
  EXPECT_GT(port.counters().pauses, 0U) << "it never waited";
}

TEST(Receiver, ItsStopTokenTellsTheCallbackThatTheEndIsNear) {
  ReceiverRig rig;
  std::atomic<bool> inside{false};
  std::unique_ptr<Receiver> receiver;
  std::atomic<bool> made{false};
  receiver = std::make_unique<Receiver>(rig.port, [&](auto) {
    while (!made) std::this_thread::yield();
    const std::stop_token token = receiver->stop_token();
    inside = true;
    while (!token.stop_requested()) std::this_thread::yield();
  });
  made = true;
  ASSERT_FALSE(rig.send(0));
  ASSERT_TRUE(eventually([&] { return inside.load(); }));
  receiver->stop();
  EXPECT_FALSE(receiver->running());
}

}  // namespace
}  // namespace shmif::test
