// A bus that is truncated below those who have it mapped.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

void no_core() {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
}

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
    install_sigbus_guard();
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
    install_sigbus_guard();
    const Port port = port_on(bus.path());
    raise(SIGBUS);
    return 1;
  });
  EXPECT_EQ(child.wait(), 42);
}

TEST(Truncation, WithoutAnOlderHandlerAFaultOutsideOfAnyBusEndsTheProcessAsEver) {
  Child child([&] {
    no_core();
    signal(SIGBUS, SIG_DFL);  // sanitizers have a handler
    install_sigbus_guard();
    char path[] = "/dev/shm/shmif-test-fault-XXXXXX";
    const int fd = mkstemp(path);
    unlink(path);
    auto* p = static_cast<volatile char*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0));
    return static_cast<int>(p[0]);  // the file is empty
  });
  EXPECT_EQ(child.wait(), 128 + SIGBUS);
}

}  // namespace
}  // namespace shmif::test
