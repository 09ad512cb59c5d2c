// A bus that is truncated below those who have it mapped.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "bus/layout.hpp"
#include "shmif/receiver.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

TEST(Truncation, APortUnderTheGuardAnswersBusLostToEverything) {
  const TempBus bus(small_ring());
  const Shared<std::atomic<int>> step;
  Child child([&] {
    no_core();
    if (!install_sigbus_guard()) return 1;
    Port port = port_on(bus.path());
    Follower follower = Follower::open(bus.path(), Start::now).value();
    *step = 1;
    while (*step == 1) std::this_thread::yield();
    NumberedBatch frames(60);
    FrameBatch in;
    if (port.send(frames.make(0, 0, 1)).error != Errc::bus_lost) return 2;
    if (port.receive(in).error != Errc::bus_lost && port.is_up()) return 3;
    if (port.wait(std::chrono::nanoseconds::max())) return 4;
    if (follower.receive(in).error != Errc::bus_lost) return 5;
    if (follower.wait(std::chrono::nanoseconds::max())) return 6;
    if (!in.empty()) return 7;
    return 0;
  });
  ASSERT_TRUE(eventually([&] { return *step == 1; }));
  ASSERT_EQ(truncate(bus.path().c_str(), 0), 0);
  *step = 2;
  EXPECT_EQ(child.wait(), 0);
}

TEST(Truncation, AReceiverSaysBusLostToItsCallerInsteadOfLooping) {
  const TempBus bus(small_ring());
  const Shared<std::atomic<int>> step;
  Child child([&] {
    no_core();
    if (!install_sigbus_guard()) return 1;
    Port port = port_on(bus.path());
    *step = 1;
    while (*step == 1) std::this_thread::yield();
    FrameBatch in;
    for (unsigned i = 0; i < 1000; ++i) {
      in.clear();
      const ReceiveResult got = port.receive(in);
      if (got.error == Errc::bus_lost) return 0;
      port.wait(std::chrono::milliseconds(10));
    }
    return 1;
  });
  ASSERT_TRUE(eventually([&] { return *step == 1; }));
  ASSERT_EQ(truncate(bus.path().c_str(), 4096), 0);
  *step = 2;
  EXPECT_EQ(child.wait(), 0);
}

/// It will not mend itself, so neither is tried again.
TEST(Truncation, EndsAReceiverAndAWaitForUpAtOnce) {
  const TempBus bus(small_ring());
  Child child([&] {
    no_core();
    alarm(30);
    if (!install_sigbus_guard()) return 1;
    Port port = port_on(bus.path());
    Port down = port_on(bus.path());
    if (down.down()) return 2;
    Receiver receiver(port, [](auto) {});
    std::atomic<int> answer{-1};
    std::jthread waiter([&] { answer = down.wait_until_up() ? 1 : 0; });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // both sleep
    if (truncate(bus.path().c_str(), 0) != 0) return 3;
    port.interrupt();
    if (!eventually([&] { return !receiver.running(); })) return 4;
    if (receiver.error() != Errc::bus_lost || receiver.failed_receives() != 1) return 5;
    if (down.up() != Errc::bus_lost) return 6;
    waiter.join();  // nobody else tells it
    return answer == 0 ? 0 : 7;
  });
  EXPECT_EQ(child.wait(), 0);
}

/// Who reads frames in place meets the fault itself, and then finds zeros. Or the port meets it.
TEST(Truncation, OfFramesThatAreLentNoneCountsThen) {
  for (const bool looks : {true, false}) {
    SCOPED_TRACE(looks ? "the borrower looks" : "the port looks");
    const TempBus bus(small_ring());
    const Shared<std::atomic<int>> step;
    Child child([&] {
      no_core();
      if (!install_sigbus_guard()) return 1;
      Port sender = port_on(bus.path());
      Port port = port_on(bus.path());
      NumberedBatch frames(60);
      FrameBatch in;
      if (sender.send(frames.make(0, 0, 10)).taken != 10) return 2;
      if (port.receive_in_place(in).frames != 10) return 3;
      *step = 1;
      while (*step == 1) std::this_thread::yield();
      if (looks && check_numbered(in[0])) return 4;
      if (port.release() != 10) return 5;
      if (port.counters().rx_frames != 0 || port.counters().lost_frames != 0) return 6;
      in.clear();
      if (port.receive_in_place(in).error != Errc::bus_lost || !in.empty()) return 7;
      if (port.release() != 0) return 8;
      return 0;
    });
    ASSERT_TRUE(eventually([&] { return *step == 1; }));
    // The header stays, where the port would look.
    const off_t left = looks ? bus::kRingOffset : 0;
    ASSERT_EQ(truncate(bus.path().c_str(), left), 0);
    *step = 2;
    EXPECT_EQ(child.wait(), 0);
  }
}

/// Which bus a fault was in must not depend on the order in which they were mapped, nor on where.
TEST(Truncation, OfOneBusOfSeveralInAProcessLeavesTheOthersAlone) {
  const TempBus gone(small_ring());
  const TempBus above(small_ring());
  const TempBus lost(small_ring());
  const TempBus large({.ring_bytes = 1U << 20U});
  Child child([&] {
    no_core();
    alarm(30);  // zeros in the wrong place would let it fault for ever
    if (!install_sigbus_guard()) return 1;
    Port port_above = port_on(above.path());
    auto port_gone = std::make_optional(port_on(gone.path()));
    Port port_lost = port_on(lost.path());
    port_gone.reset();
    // It does not fit where that was, and so is below, but takes its place in the list.
    Port port_below = port_on(large.path());
    if (truncate(lost.path().c_str(), 0) != 0) return 2;
    NumberedBatch frames(60);
    if (port_lost.send(frames.make(0, 0, 1)).error != Errc::bus_lost) return 3;
    for (Port* port : {&port_above, &port_below}) {
      FrameBatch in;
      if (port->send(frames.make(0, 0, 1)).error || port->receive(in).error) return 4;
    }
    return 0;
  });
  EXPECT_EQ(child.wait(), 0) << "3 the truncated bus was not lost, 4 another one was";
}

volatile sig_atomic_t older_ran = 0;

TEST(Truncation, FaultsOutsideOfAnyBusStillReachTheHandlerThatWasThereBefore) {
  const TempBus bus(small_ring());
  Child child([&] {
    no_core();
    struct sigaction older{};
    older.sa_handler = [](int) {
      older_ran = 1;
      _exit(42);
    };
    sigaction(SIGBUS, &older, nullptr);
    if (!install_sigbus_guard()) return 1;
    const Port port = port_on(bus.path());
    raise(SIGBUS);
    return 1;
  });
  EXPECT_EQ(child.wait(), 42);
}

TEST(Truncation, AnOlderHandlerThatAsksForTheAddressGetsIt) {
  static const void* volatile fault = nullptr;
  const TempDir dir;
  Child child([&] {
    const int fd = ::open(dir.file("plain").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    auto* page = static_cast<char*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0));
    struct sigaction older{};
    older.sa_flags = SA_SIGINFO;
    older.sa_sigaction = [](int, siginfo_t* info, void*) { _exit(info->si_addr == fault ? 7 : 8); };
    sigaction(SIGBUS, &older, nullptr);
    if (!install_sigbus_guard()) return 1;
    fault = page + 100;
    return static_cast<int>(
        *static_cast<volatile char*>(page + 100));  // behind the end of the file
  });
  EXPECT_EQ(child.wait(), 7);
}

TEST(Truncation, TheHandlerRunsOnTheAlternateStackOfAThreadThatHasOne) {
  static std::array<char, 1U << 16U> alternate;
  Child child([&] {
    no_core();
    stack_t stack{};
    stack.ss_sp = alternate.data();
    stack.ss_size = alternate.size();
    if (sigaltstack(&stack, nullptr) != 0) return 1;
    struct sigaction older{};
    older.sa_flags = SA_SIGINFO | SA_ONSTACK;
    older.sa_sigaction = [](int, siginfo_t*, void*) {
      // Not the address of a variable, which AddressSanitizer may keep elsewhere.
      const auto* here = static_cast<const char*>(__builtin_frame_address(0));
      _exit(here >= alternate.data() && here < alternate.data() + alternate.size() ? 7 : 8);
    };
    sigaction(SIGBUS, &older, nullptr);
    if (!install_sigbus_guard()) return 1;
    struct sigaction now{};
    sigaction(SIGBUS, nullptr, &now);
    if ((now.sa_flags & SA_ONSTACK) == 0) return 9;  // what the Go runtime looks at
    return raise(SIGBUS);
  });
  EXPECT_EQ(child.wait(), 7) << "8 not on it, 9 the flag is missing";
}

TEST(Truncation, IsSurvivedByEachOfVeryManyMappings) {
  constexpr unsigned kMappings = 1100;
  const TempBus bus(small_ring());
  Child child([&] {
    no_core();
    if (!install_sigbus_guard()) return 1;
    std::vector<Follower> followers;
    for (unsigned i = 0; i < kMappings; ++i)
      followers.push_back(Follower::open(bus.path(), Start::now).value());
    if (truncate(bus.path().c_str(), 0) != 0) return 1;
    FrameBatch in;
    for (Follower& each : followers) {
      if (each.receive(in).error != Errc::bus_lost) return 2;
    }
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST(Truncation, ASignalThatSomebodySendsDoesWhatItWouldDoWithoutTheGuard) {
  for (const bool ignored : {false, true}) {
    Child child([&] {
      no_core();
      signal(SIGBUS, ignored ? SIG_IGN : SIG_DFL);
      if (!install_sigbus_guard()) return 1;
      raise(SIGBUS);
      return 0;
    });
    EXPECT_EQ(child.wait(), ignored ? 0 : 128 + SIGBUS);
  }
}

TEST(Truncation, WithoutAnOlderHandlerAFaultOutsideOfAnyBusEndsTheProcessAsEver) {
  Child child([&] {
    no_core();
    signal(SIGBUS, SIG_DFL);  // sanitizers have a handler
    if (!install_sigbus_guard()) return 1;
    char path[] = "/dev/shm/shmif-test-fault-XXXXXX";
    const int fd = mkstemp(path);
    unlink(path);
    auto* p = static_cast<volatile char*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0));
    return static_cast<int>(p[0]);  // the file is empty
  });
  EXPECT_EQ(child.wait(), 128 + SIGBUS);
}

/// A port that goes down when its bus is lost does not hide that.
TEST(Truncation, APortThatIsDownAnswersBusLostToo) {
  const TempBus bus(small_ring());
  EXPECT_EQ(Child([&] {
              no_core();
              if (!install_sigbus_guard()) return 1;
              Port port = port_on(bus.path());
              NumberedBatch frames(60);
              FrameBatch in;
              if (truncate(bus.path().c_str(), 0) != 0) return 2;
              if (port.send(frames.make(0, 0, 1)).error != Errc::bus_lost) return 3;
              if (port.down()) return 4;
              if (port.send(frames.make(0, 0, 1)).error != Errc::bus_lost) return 5;
              if (port.receive(in).error != Errc::bus_lost) return 6;
              return port.bus_frames() == 0 ? 0 : 7;
            }).wait(),
            0);
}

}  // namespace
}  // namespace shmif::test
