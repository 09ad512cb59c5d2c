// Ports that sleep in poll: whatever wakes their descriptor, no wakeup is lost; a frame wakes the
// port it is for, and nobody else; and a descriptor is the business of its own process alone.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "bus/file/liveness.hpp"
#include "tests/process/ping_pong.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/wake_means.hpp"

namespace shmif::test {
namespace {

constexpr auto kNoLimit = std::chrono::nanoseconds::max();

bool sleeps_deep(const RawBus& raw, unsigned slot) {
  return is_set(raw.header().deep_sleepers, slot);
}

/// Sleeps in poll until there is something to receive, as long as prepare_wait() allows.
void await(Port& port) {
  for (;;) {
    const WaitHint hint = port.prepare_wait();
    pollfd p{.fd = port.descriptor(), .events = POLLIN, .revents = 0};
    if (!hint.ready) poll(&p, 1, hint.at_most == kNoLimit ? -1 : 50);
    port.finish_wait();
    if (hint.ready) return;
  }
}

class Descriptor : public ::testing::TestWithParam<WakeMeans> {
 protected:
  void SetUp() override {
    if (const std::string why = lacking(GetParam()); !why.empty()) GTEST_SKIP() << why;
  }
};

INSTANTIATE_TEST_SUITE_P(Each, Descriptor,
                         ::testing::Values(WakeMeans::io_uring, WakeMeans::inotify,
                                           WakeMeans::helper_thread),
                         ::testing::PrintToStringParamName());

/// One side of a ping-pong that polls without the time-out that prepare_wait() gives, so that a
/// single lost wakeup stops both.
int play(const std::string& path, PingPong& progress, unsigned side, std::uint64_t rounds,
         WakeMeans means) {
  if (!leave_only(means)) return 1;
  Port port = port_on(path, {.name = "side" + std::to_string(side)});
  const int fd = port.descriptor();
  if (fd < 0 || !is_woken_by(port, means)) return 2;
  NumberedBatch frames(60);
  FrameBatch in;
  std::uint64_t heard = 0;
  ++progress.ready;
  while (progress.ready < 2) std::this_thread::yield();
  for (std::uint64_t round = 0; round < rounds; ++round) {
    if (round % 2 == side) {
      if (port.send(frames.make(side, static_cast<std::uint32_t>(round), 1)).error) return 3;
    } else {
      while (heard < (round + 1 + side) / 2) {
        if (!port.prepare_wait().ready) {
          pollfd p{.fd = fd, .events = POLLIN, .revents = 0};
          if (poll(&p, 1, -1) != 1) return 4;
        }
        port.finish_wait();
        in.clear();
        if (port.receive(in).error) return 5;
        heard += in.size();
      }
    }
    ++progress.rounds.at(side);
  }
  return 0;
}

TEST_P(Descriptor, NoWakeupIsLostInManyRoundsOfPingPongBetweenProcessesThatPoll) {
  const std::uint64_t rounds = kSanitized ? 500 : 20'000;
  const TempBus bus(small_ring());
  const Shared<PingPong> progress;
  expect_to_finish(progress, rounds, [&](unsigned side) {
    return play(bus.path(), *progress, side, rounds, GetParam());
  });
}

TEST_P(Descriptor, APortThatHasSleptDeeplyIsWokenByTheFirstFrame) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const Shared<std::atomic<int>> slot;
  *slot = -1;
  Child sleeper([&] {
    if (!leave_only(GetParam())) return 1;
    Port port = port_on(bus.path());
    if (!is_woken_by(port, GetParam())) return 2;
    *slot = static_cast<int>(port.slot());
    FrameBatch in;
    for (std::size_t heard = 0; heard < 2; heard += in.size()) {
      await(port);
      in.clear();
      if (port.receive(in).error) return 4;
    }
    return 0;
  });
  Port sender = port_on(bus.path());
  NumberedBatch frames(60);
  for (std::uint32_t round = 0; round < 2; ++round) {
    ASSERT_TRUE(eventually(
        [&] { return *slot >= 0 && sleeps_deep(raw, static_cast<unsigned>(slot->load())); }));
    EXPECT_FALSE(sender.send(frames.make(0, round, 1)).error);
    // Until it has heard that: by then it is awake, and may sleep deeply again.
    ASSERT_TRUE(eventually([&] {
      return bus::load_relaxed(raw.slot(static_cast<unsigned>(slot->load())).rx_frames) > round;
    }));
  }
  EXPECT_EQ(sleeper.wait(), 0);
}

/// Waits in epoll, counting how often that returns with an event.
int count_events(const std::string& path, std::atomic<int>& slot, std::atomic<unsigned>& events,
                 const std::atomic<bool>& over) {
  Port port = port_on(path);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{.events = EPOLLIN, .data = {}};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, port.descriptor(), &event) != 0) return 1;
  slot = static_cast<int>(port.slot());
  FrameBatch in;
  while (!over) {
    const WaitHint hint = port.prepare_wait();
    const int timeout = hint.at_most == kNoLimit ? -1 : 50;
    if (!hint.ready && epoll_wait(epoll, &event, 1, timeout) > 0) ++events;
    port.finish_wait();
    in.clear();
    if (port.receive(in).error) return 2;
  }
  return 0;
}

TEST(PrivateDescriptor, AFrameForOneOfManyPollingProcessesWakesThatOneAlone) {
  constexpr unsigned kProcesses = 20;
  constexpr unsigned kFrames = 50;
  if (!lacking(WakeMeans::io_uring).empty()) GTEST_SKIP() << lacking(WakeMeans::io_uring);
  struct Each {
    std::atomic<int> slot{-1};
    std::atomic<unsigned> events{0};
  };
  struct Shown {
    std::array<Each, kProcesses> each;
    std::atomic<bool> over{false};
  };
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const Shared<Shown> shown;
  std::vector<Child> children;
  for (Each& e : shown->each) {
    children.emplace_back([&] { return count_events(bus.path(), e.slot, e.events, shown->over); });
  }
  const auto all_sleep_deep = [&] {
    return std::ranges::all_of(shown->each, [&](const Each& e) {
      return e.slot >= 0 && sleeps_deep(raw, static_cast<unsigned>(e.slot.load()));
    });
  };
  ASSERT_TRUE(eventually(all_sleep_deep));
  Port sender = port_on(bus.path());
  NumberedBatch frames(60);
  constexpr std::size_t kChosen = 7;
  const auto chosen = static_cast<unsigned>(shown->each[kChosen].slot.load());
  const MacAddress mac = MacAddress::from_u64(raw.slot(chosen).mac);
  for (std::uint32_t i = 0; i < kFrames; ++i) {
    ASSERT_TRUE(eventually([&] { return is_set(raw.header().sleepers, chosen); }));
    EXPECT_FALSE(sender.send(frames.make(0, i, 1, mac)).error);
    ASSERT_TRUE(eventually([&] { return bus::load_relaxed(raw.slot(chosen).rx_frames) > i; }));
  }
  for (std::size_t i = 0; i < kProcesses; ++i) {
    const Each& e = shown->each.at(i);
    const std::uint64_t wakeups =
        bus::load_relaxed(raw.slot(static_cast<unsigned>(e.slot.load())).wakeups);
    EXPECT_EQ(e.events > 0, i == kChosen) << "process " << i;
    EXPECT_EQ(wakeups > 0, i == kChosen) << "process " << i;
  }
  ASSERT_TRUE(eventually(all_sleep_deep));
  shown->over = true;
  EXPECT_FALSE(sender.send(frames.make(0, kFrames, 1)).error);  // for everybody
  for (Child& child : children) EXPECT_EQ(child.wait(), 0);
}

TEST(PrivateDescriptor, TheSenderThatPollsIsNotWokenByItsOwnFrames) {
  if (!lacking(WakeMeans::io_uring).empty()) GTEST_SKIP() << lacking(WakeMeans::io_uring);
  const TempBus bus;
  Port sender = port_on(bus.path());
  Port sleeper = port_on(bus.path());
  pollfd mine{.fd = sender.descriptor(), .events = POLLIN, .revents = 0};
  pollfd theirs{.fd = sleeper.descriptor(), .events = POLLIN, .revents = 0};
  ASSERT_FALSE(sender.prepare_wait().ready);
  ASSERT_FALSE(sleeper.prepare_wait().ready);
  NumberedBatch frames(60);
  EXPECT_FALSE(sender.send(frames.make(0, 0, 1)).error);
  EXPECT_EQ(poll(&theirs, 1, 30'000), 1);
  EXPECT_EQ(poll(&mine, 1, 0), 0);
}

/// Waits for one frame, which the parent sends when this port is asleep.
void hear_one(Port& port) {
  FrameBatch in;
  while (in.size() == 0) {
    await(port);
    if (port.receive(in).error) throw std::runtime_error("it cannot receive");
  }
}

TEST_P(Descriptor, StaysTheSameAndHearsEveryFrameWhenOneThreadWaitsAfterAnother) {
  const TempBus bus;
  const auto in_child = [&] {
    if (!leave_only(GetParam())) return 1;
    Port port = port_on(bus.path());
    Port sender = port_on(bus.path());
    const int fd = port.descriptor();
    NumberedBatch frames(60);
    for (std::uint32_t round = 0; round < 20; ++round) {
      std::jthread waiter([&] { hear_one(port); });
      if (sender.send(frames.make(0, round, 1)).error) return 4;
      waiter.join();
      if (port.descriptor() != fd) return 2;
      // Leaves the port announced, by a thread that ends.
      std::jthread([&] { port.prepare_wait(); }).join();
      if (round % 2 == 0) port.finish_wait();
    }
    return 0;
  };
  EXPECT_EQ(Child(in_child).wait(), 0);
}

TEST_P(Descriptor, HearsThatItsOwnProcessTookThePortDownOrInterruptedIt) {
  const TempBus bus;
  const auto in_child = [&] {
    if (!leave_only(GetParam())) return 1;
    Port port = port_on(bus.path());
    pollfd p{.fd = port.descriptor(), .events = POLLIN, .revents = 0};
    const auto is_woken = [&](const std::function<void()>& by) {
      if (port.prepare_wait().ready) return false;
      by();
      const bool woken = poll(&p, 1, 30'000) == 1;
      port.finish_wait();
      return woken;
    };
    if (!is_woken([&] { port.interrupt(); })) return 2;
    if (!is_woken([&] { static_cast<void>(port.down()); })) return 3;
    return 0;
  };
  EXPECT_EQ(Child(in_child).wait(), 0);
}

TEST_P(Descriptor, KeepsNoPortAliveInAForkedChildOfAProcessThatDied) {
  const TempBus bus;
  const RawBus raw(bus.path());
  struct Shown {
    std::atomic<int> slot{-1};
    std::atomic<int> grandchild{0};
  };
  const Shared<Shown> shown;
  Child child([&] {
    if (!leave_only(GetParam())) return 1;
    Port port = port_on(bus.path());
    port.prepare_wait();
    const pid_t grandchild = fork();
    if (grandchild == 0) {
      pause();
      _exit(0);
    }
    shown->grandchild = grandchild;
    shown->slot = static_cast<int>(port.slot());
    pause();
    return 0;
  });
  ASSERT_TRUE(eventually([&] { return shown->slot >= 0; }));
  const auto slot = static_cast<unsigned>(shown->slot.load());
  EXPECT_TRUE(bus::is_alive(raw.fd(), slot));
  child.kill_and_wait();
  EXPECT_TRUE(eventually([&] { return !bus::is_alive(raw.fd(), slot); }));
  EXPECT_EQ(kill(shown->grandchild, SIGKILL), 0) << "it was to live on with the descriptors";
}

TEST_P(Descriptor, AForkedChildThatDestroysItsCopyLeavesTheParentsAlone) {
  const TempBus bus;
  const auto in_child = [&] {
    if (!leave_only(GetParam())) return 1;
    auto port = std::make_unique<Port>(port_on(bus.path()));
    Port sender = port_on(bus.path());
    port->prepare_wait();
    Child forked([&] {
      port->finish_wait();
      const bool refuses = port->descriptor() == -1;
      port.reset();
      return refuses ? 0 : 1;
    });
    if (forked.wait() != 0) return 2;
    NumberedBatch frames(60);
    if (sender.send(frames.make(0, 0, 1)).error) return 4;
    pollfd p{.fd = port->descriptor(), .events = POLLIN, .revents = 0};
    return poll(&p, 1, 30'000) == 1 ? 0 : 3;
  };
  EXPECT_EQ(Child(in_child).wait(), 0);
}

TEST_P(Descriptor, LetsADeepSleeperNoticeThatItsBusWasTruncatedWhereThatIsSurvived) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const Shared<std::atomic<int>> slot;
  *slot = -1;
  Child sleeper([&] {
    if (!leave_only(GetParam()) || !install_sigbus_guard()) return 1;
    Port port = port_on(bus.path());
    *slot = static_cast<int>(port.slot());
    FrameBatch in;
    for (;;) {
      const WaitHint hint = port.prepare_wait();
      pollfd p{.fd = port.descriptor(), .events = POLLIN, .revents = 0};
      const auto ms = std::chrono::ceil<std::chrono::milliseconds>(hint.at_most).count();
      if (!hint.ready) poll(&p, 1, hint.at_most == kNoLimit ? -1 : static_cast<int>(ms));
      port.finish_wait();
      if (port.receive(in).error == Errc::bus_lost) return 0;
    }
  });
  ASSERT_TRUE(eventually(
      [&] { return *slot >= 0 && sleeps_deep(raw, static_cast<unsigned>(slot->load())); }));
  // The end of the ring, so that the header that this test looks at stays.
  std::filesystem::resize_file(bus.path(), std::filesystem::file_size(bus.path()) - 4096);
  siginfo_t info{};
  EXPECT_TRUE(eventually([&] {
    return waitid(P_PID, static_cast<id_t>(sleeper.pid()), &info, WEXITED | WNOHANG | WNOWAIT) ==
               0 &&
           info.si_pid != 0;
  }));
  sleeper.signal(SIGKILL);
  EXPECT_EQ(sleeper.wait(), 0);
}

std::ptrdiff_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

TEST_P(Descriptor, LeavesNoDescriptorsAndNoThreadsBehindWhenAPortComesAndGoes) {
  const TempBus bus;
  const auto in_child = [&] {
    if (!leave_only(GetParam())) return 1;
    const auto come_and_go = [&] {
      Port port = port_on(bus.path());
      port.prepare_wait();
      port.finish_wait();
      port.prepare_wait();
    };
    come_and_go();
    const auto descriptors = open_descriptors();
    const auto running = living_threads();
    for (unsigned i = 0; i < 100; ++i) come_and_go();
    return open_descriptors() == descriptors && living_threads() == running ? 0 : 2;
  };
  EXPECT_EQ(Child(in_child).wait(), 0);
}

TEST_P(Descriptor, IsNotHandedOnToAProgramThatItsProcessRuns) {
  const TempBus bus;
  const auto in_child = [&] {
    if (!leave_only(GetParam())) return 1;
    const auto before = handed_on();
    Port port = port_on(bus.path());
    if (!is_woken_by(port, GetParam())) return 2;
    port.prepare_wait();
    return handed_on() == before ? 0 : 3;
  };
  EXPECT_EQ(Child(in_child).wait(), 0);
}

TEST(PrivateDescriptor, AHundredPortsOfAnOrdinaryUsersProcessHaveOneEach) {
  if (!lacking(WakeMeans::io_uring).empty()) GTEST_SKIP() << lacking(WakeMeans::io_uring);
  const TempBus bus({.mode = 0666});
  chmod(std::filesystem::path(bus.path()).parent_path().c_str(), 0755);
  const auto in_child = [&] {
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) return 1;
    std::vector<Port> ports;
    for (unsigned i = 0; i < 100; ++i) {
      ports.push_back(port_on(bus.path()));
      if (!is_woken_by(ports.back(), WakeMeans::io_uring)) return 2;
      if (ports.back().prepare_wait().ready) return 3;
    }
    Port sender = port_on(bus.path());
    NumberedBatch frames(60);
    if (sender.send(frames.make(0, 0, 1)).error) return 5;
    for (Port& port : ports) {
      pollfd p{.fd = port.descriptor(), .events = POLLIN, .revents = 0};
      if (poll(&p, 1, 30'000) != 1) return 4;
    }
    return 0;
  };
  EXPECT_EQ(Child(in_child).wait(), 0);
}

TEST(PrivateDescriptor, AProcessThatForbidsItselfIoUringLaterOnLooksUpInsteadOfSleepingForEver) {
  if (!lacking(WakeMeans::io_uring).empty()) GTEST_SKIP() << lacking(WakeMeans::io_uring);
  const TempBus bus;
  const auto in_child = [&] {
    Port port = port_on(bus.path());
    if (!is_woken_by(port, WakeMeans::io_uring)) return 1;
    if (!forbid(SCMP_SYS(io_uring_enter)) || !forbid(SCMP_SYS(io_uring_setup))) return 2;
    for (unsigned i = 0; i < 10; ++i) {  // for much longer than others take to sleep deep
      const WaitHint hint = port.prepare_wait();
      if (hint.ready || hint.at_most == kNoLimit) return 3;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      port.finish_wait();
    }
    Port sender = port_on(bus.path());
    NumberedBatch frames(60);
    if (sender.send(frames.make(0, 0, 1)).error) return 5;
    hear_one(port);
    return 0;
  };
  EXPECT_EQ(Child(in_child).wait(), 0);
}

}  // namespace
}  // namespace shmif::test
