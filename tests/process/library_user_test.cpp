// What programs do that link the library: fork, exec, become daemons, die in signal handlers,
// attach and detach all day, and use threads. Nothing of it may leak, hang or harm the others.

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <optional>
#include <thread>

#include "bus/port/doorbell.hpp"
#include "shmif/receiver.hpp"
#include "shmif/shmif.h"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/one_frame.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using std::chrono::nanoseconds;

// Coming and going.

constexpr unsigned kCycles = kSanitized ? 200 : 1000;
constexpr unsigned kWarm = 50;  // cycles until malloc and the C library have what they keep

/// Runs `cycle` a thousand times. What the process holds is the same after the fiftieth and after
/// the last one; the table of the bus has `others` ports, which stay all the time.
template <class Cycle>
void expect_no_growth(const TempBus& bus, std::size_t others, Cycle cycle) {
  Holdings warm;
  for (unsigned i = 0; i < kCycles; ++i) {
    ASSERT_NO_FATAL_FAILURE(cycle(i)) << "cycle " << i;
    if (i == kWarm) warm = holdings(bus.path());
  }
  const Holdings after = holdings(bus.path());
  EXPECT_EQ(without_heap(after), without_heap(warm));
  if (!kSanitized) {  // which map memory of their own as they please
    EXPECT_EQ(after, warm);
  }
  EXPECT_EQ(warm.bus_mappings == 0, others == 0);
  EXPECT_EQ(bus.info().ports.size(), others) << "a slot is left taken";
  EXPECT_TRUE(is_clean(bus.audit()));
}

TEST(ManyCycles, OfPortsThatSendWaitAndHaveDescriptorsLeaveNothing) {
  const TempBus bus(small_ring());
  expect_no_growth(bus, 0, [&](unsigned i) {
    Port port({.name = i % 2 == 0 ? "mine" : ""});
    ASSERT_TRUE(port.attach(bus.path()));
    ASSERT_FALSE(port.up());
    ASSERT_FALSE(send_one(port));
    ASSERT_FALSE(port.wait(nanoseconds(1)));
    if (i % 3 == 0) {
      ASSERT_GE(port.descriptor(), 0);
      port.prepare_wait();
      port.finish_wait();
    }
    if (i % 4 == 0) return;  // destroyed while up
    ASSERT_FALSE(port.down());
    ASSERT_FALSE(port.up());
    ASSERT_FALSE(port.down());
    ASSERT_FALSE(port.detach());
    ASSERT_TRUE(port.attach(bus.path())) << "the same port again";
  });
}

TEST(ManyCycles, OfReceiversThatAreDestroyedAtWorkLeaveNothing) {
  const TempBus bus(small_ring());
  Port sender = port_on(bus.path());
  std::atomic<std::size_t> got{0};
  expect_no_growth(bus, 1, [&](unsigned i) {
    Port port = port_on(bus.path());
    const std::size_t before = got;
    const Receiver receiver(port, [&](std::span<const FrameView> f) { got += f.size(); });
    if (i % 2 == 0) return;  // while it starts
    ASSERT_FALSE(send_one(sender));
    ASSERT_TRUE(eventually([&] { return got != before; }));
  });
}

TEST(ManyCycles, OfTheCFacadeLeaveNothing) {
  const TempBus bus(small_ring());
  expect_no_growth(bus, 0, [&](unsigned i) {
    shmif_port* port = nullptr;
    ASSERT_EQ(shmif_open(bus.path().c_str(), nullptr, &port), 0) << shmif_message();
    ASSERT_EQ(shmif_up(port), 0);
    const std::array<std::byte, 60> frame{};
    ASSERT_EQ(shmif_send(port, frame.data(), frame.size()), 0);
    if (i % 2 == 0) {
      int at_most_ms = 0;
      ASSERT_GE(shmif_descriptor(port), 0);
      ASSERT_EQ(shmif_prepare_wait(port, &at_most_ms), 0);
      shmif_finish_wait(port);
    }
    ASSERT_EQ(shmif_down(port), 0);
    shmif_close(port);
  });
}

TEST(ManyCycles, OfLookingAndOfRefusalsLeaveNothing) {
  const TempBus bus(small_ring());
  const Port taken = port_on(bus.path(), {.name = "taken"});
  expect_no_growth(bus, 1, [&](unsigned) {
    ASSERT_FALSE(Port({.name = "taken"}).attach(bus.path()));
    ASSERT_FALSE(Port().attach(bus.file("none")));
    ASSERT_FALSE(Bus::create(bus.path(), {}));
    ASSERT_TRUE(Follower::open(bus.path(), Start::oldest));
    ASSERT_TRUE(Bus::open(bus.path()).value().audit().clean());
  });
}

// Fork and exec.

TEST(ForkingUser, AChildThatUsesNothingAndExitsTheLongWayDisturbsNothing) {
  const TempBus bus(small_ring());
  // Static, so that exit() destroys it in the child as in any program.
  static std::optional<Port> port;
  port.emplace(port_on(bus.path(), {.name = "parent"}));
  Port peer = port_on(bus.path());
  ASSERT_GE(port->descriptor(), 0);
  const auto ignore = [](std::span<const FrameView>) {};
  Receiver(peer, ignore).stop();                 // ThreadSanitizer has a thread from the first on
  const Holdings before = holdings(bus.path());  // while no other thread runs
  Receiver receiver(peer, ignore);
  for (unsigned i = 0; i < 20; ++i) {
    Child child([] {
      port.reset();
      return 0;
    });
    ASSERT_EQ(child.wait(), 0);
    ASSERT_FALSE(send_one(*port));
  }
  receiver.stop();
  EXPECT_EQ(without_heap(holdings(bus.path())), without_heap(before));
  EXPECT_TRUE(bus.info().ports.at(0).live);
  EXPECT_EQ(port->link().value().path, bus.path());
  port.reset();
}

TEST(ForkingUser, AProgramThatItRunsInheritsNoDescriptorOfTheBus) {
  const TempBus bus(small_ring());
  Port port = port_on(bus.path(), {.name = "parent"});
  ASSERT_GE(port.descriptor(), 0);
  const Follower follower = Follower::open(bus.path(), Start::now).value();
  // Through fork and exec, and through posix_spawn, which shares the memory until the exec.
  FILE* list = popen("ls -l /proc/self/fd; tr -d '\\n' </proc/self/maps", "re");
  ASSERT_NE(list, nullptr);
  std::string text;
  for (int c = fgetc(list); c != EOF; c = fgetc(list)) text += static_cast<char>(c);
  EXPECT_EQ(pclose(list), 0);
  EXPECT_EQ(text.find(bus.path()), std::string::npos) << text;
  EXPECT_EQ(text.find("inotify"), std::string::npos) << text;
  EXPECT_EQ(text.find("eventfd"), std::string::npos) << text;
  EXPECT_EQ(text.find("io_uring"), std::string::npos) << text;
  char name[] = "true";
  char* const arguments[] = {name, nullptr};
  pid_t pid = 0;
  ASSERT_EQ(posix_spawnp(&pid, name, nullptr, nullptr, arguments, environ), 0);
  int status = 1;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(bus.info().ports.at(0).live);
  EXPECT_FALSE(send_one(port));
}

TEST(ForkingUser, AProcessThatRunsAnotherProgramLeavesItsPortToWhoWantsIt) {
  const TempBus bus(small_ring());
  Child gone([&] {
    const Port port = port_on(bus.path(), {.name = "mine"});
    execlp("sleep", "sleep", "600", nullptr);
    return 1;
  });
  ASSERT_TRUE(eventually([&] {
    const BusInfo info = bus.info();
    return info.ports.size() == 1 && !info.ports[0].live;
  })) << "the program still runs, its port does not";
  Port heir = port_on(bus.path(), {.name = "mine"});
  EXPECT_EQ(heir.slot(), 0U);
  EXPECT_FALSE(send_one(heir));
}

TEST(ForkingUser, AChildsOwnPortThatTakesTheAddressesOfItsParentsLearnsOfATruncation) {
  ASSERT_TRUE(install_sigbus_guard());
  const TempBus bus(small_ring());
  const std::string other = bus.file("other");
  ASSERT_TRUE(Bus::create(other, small_ring()));
  const Port port =
      port_on(bus.path());  // its mapping is not in the child: the place is free there
  EXPECT_EQ(Child([&] {
              std::array<Port, 8> own;
              for (Port& p : own) p = port_on(other);
              std::filesystem::resize_file(other, 0);
              FrameBatch batch;
              for (Port& p : own) {
                static_cast<void>(send_one(p));
                if (p.receive(batch).error != Errc::bus_lost) return 1;
              }
              return 0;
            }).wait(),
            0);
}

/// What daemon(3) does: two forks, so that the process belongs to nobody. Result: whether this is
/// the daemon; the others are not there any more.
bool become_daemon() {
  if (fork() != 0) _exit(0);
  setsid();
  if (fork() != 0) _exit(0);
  return true;
}

TEST(Daemon, ThatAttachesAfterItsForksLivesOnWithItsPort) {
  const TempBus bus(small_ring());
  const Shared<std::atomic<int>> step;
  Port peer = port_on(bus.path(), {.name = "peer"});
  Child starter([&] {
    become_daemon();
    Port port = port_on(bus.path(), {.name = "daemon"});
    *step = send_one(port) ? -1 : 1;
    eventually([&] { return *step == 2; });  // and then it ends in any case
    return 0;
  });
  EXPECT_EQ(starter.wait(), 0);
  ASSERT_TRUE(eventually([&] { return *step != 0; }));
  EXPECT_EQ(*step, 1);
  EXPECT_EQ(heard(peer), 1U);
  EXPECT_TRUE(bus.info().ports.at(1).live);
  *step = 2;
  EXPECT_TRUE(eventually([&] { return bus.info().ports.size() == 1; }));
}

TEST(Daemon, ThatForksWithAPortIsToldSoAndMayAttachAnew) {
  const TempBus bus(small_ring());
  const Shared<std::atomic<int>> step;
  Child starter([&] {
    Port port = port_on(bus.path(), {.name = "daemon"});
    become_daemon();
    const bool told =
        send_one(port) == Errc::forked && port.attach(bus.path()).error().code == Errc::forked;
    bool again = false;
    eventually([&] {  // the name is free when the process that had it is gone
      Port own({.name = "daemon"});
      again = static_cast<bool>(own.attach(bus.path()));
      return again;
    });
    *step = told && again ? 1 : -1;
    return 0;
  });
  EXPECT_EQ(starter.wait(), 0);
  ASSERT_TRUE(eventually([&] { return *step != 0; }));
  EXPECT_EQ(*step, 1);
}

// Signals.

/// An alarm after so long; 0: none.
void alarm_after(std::chrono::microseconds delay) {
  itimerval timer{};
  timer.it_value.tv_usec = static_cast<suseconds_t>(delay.count());
  setitimer(ITIMER_REAL, &timer, nullptr);
}

void on_alarm(void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  sigaction(SIGALRM, &action, nullptr);
}

Port* interrupted_by_handler = nullptr;

TEST(Signals, AHandlerMayInterruptTheWaitThatItInterrupts) {
  const TempBus bus(small_ring());
  Port port = port_on(bus.path());
  interrupted_by_handler = &port;
  on_alarm([](int) { interrupted_by_handler->interrupt(); });
  for (unsigned i = 0; i < 100; ++i) {
    alarm_after(std::chrono::microseconds(200 + 50 * i));
    EXPECT_FALSE(port.wait(nanoseconds::max())) << "a lost interrupt would wait for ever";
  }
  std::this_thread::sleep_for(bus::kIdleUntilDeep);  // from now on the wait looks up no more
  alarm_after(std::chrono::milliseconds(300));
  EXPECT_FALSE(port.wait(nanoseconds::max()));
  on_alarm(SIG_DFL);
}

TEST(Signals, AHandlerThatDoesNotInterruptEndsNoWait) {
  const TempBus bus(small_ring());
  Port port = port_on(bus.path());
  Port sender = port_on(bus.path());
  static std::atomic<unsigned> alarms;
  alarms = 0;
  on_alarm([](int) { ++alarms; });
  std::jthread later([&] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);  // the alarm is for the thread that waits
    eventually([] { return alarms != 0; });
    send_one(sender);
  });
  alarm_after(std::chrono::microseconds(1000));
  EXPECT_TRUE(port.wait(nanoseconds::max()));
  later.join();
  EXPECT_EQ(alarms, 1U);
  on_alarm(SIG_DFL);
}

TEST(Signals, AProcessThatEndsInAHandlerInTheMiddleOfASendHarmsNobody) {
  const TempBus bus(small_ring());
  Port other = port_on(bus.path(), {.name = "other"});
  const std::array<void (*)(int), 4> endings{
      [](int) { _exit(3); },
      [](int) { abort(); },
      [](int) { kill(getpid(), SIGKILL); },
      SIG_DFL,
  };
  const unsigned rounds = kSanitized ? 40 : 100;
  for (unsigned i = 0; i < rounds; ++i) {
    Child child([&] {
      const struct rlimit none{};
      setrlimit(RLIMIT_CORE, &none);
      Port port = port_on(bus.path(), {.name = "mine"});
      NumberedBatch frames(60);
      on_alarm(endings[i % endings.size()]);
      alarm_after(std::chrono::microseconds(100 + 37 * i));
      for (std::uint32_t n = 0;; n += 16)
        static_cast<void>(port.send(frames.make(2, n, 16)));  // until the alarm
      return 0;
    });
    EXPECT_NE(child.wait(), 0);
    ASSERT_FALSE(send_one(other)) << "round " << i;
  }
  EXPECT_TRUE(is_clean(bus.audit()));
  EXPECT_LE(bus.info().ports.size(), 2U) << "each took the slot that the one before left";
  Port heir({.name = "mine"});
  EXPECT_TRUE(heir.attach(bus.path()));
}

// Threads.

TEST(Threads, DetachIsRefusedWhileAnotherThreadWaitsAndGoesWhenDownHasEndedTheWait) {
  const TempBus bus(small_ring());
  for (unsigned i = 0; i < (kSanitized ? 30U : 300U); ++i) {
    Port port = port_on(bus.path());
    std::atomic<bool> waits{false};
    std::jthread waiter([&] {
      waits = true;
      EXPECT_FALSE(port.wait(nanoseconds::max()));
    });
    if (i % 2 == 0) {
      while (!waits) std::this_thread::yield();
    }
    EXPECT_EQ(port.detach(), Errc::port_up);
    EXPECT_FALSE(port.down());
    waiter.join();
    EXPECT_FALSE(port.detach());
  }
  EXPECT_TRUE(bus.info().ports.empty());
}

TEST(Threads, SendersAtWorkAreToldThatThePortWentDown) {
  const TempBus bus(small_ring());
  for (unsigned i = 0; i < 50; ++i) {
    Port port = port_on(bus.path());
    std::vector<std::jthread> senders;
    for (unsigned t = 0; t < 3; ++t) {
      senders.emplace_back([&] {
        while (true) {
          if (const std::error_code error = send_one(port)) {
            EXPECT_EQ(error, Errc::port_down);
            return;
          }
        }
      });
    }
    EXPECT_FALSE(port.down());
    senders.clear();  // joins
    EXPECT_FALSE(port.detach());
  }
  EXPECT_TRUE(is_clean(bus.audit()));
}

}  // namespace
}  // namespace shmif::test
