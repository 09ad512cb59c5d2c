// Signals are not for a quiet thread, and stay for the one that starts it.

#include "base/quiet_thread.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace shmif::bus {
namespace {

sigset_t own_mask() {
  sigset_t set;
  pthread_sigmask(SIG_BLOCK, nullptr, &set);
  return set;
}

bool is_masked(int number) {
  const sigset_t set = own_mask();
  return sigismember(&set, number) == 1;
}

TEST(QuietThread, TakesNoSignalsButThoseOfItsOwnFaults) {
  base::quiet_thread<std::thread>([] {
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGPIPE, SIGUSR1, SIGALRM}) {
      EXPECT_TRUE(is_masked(number)) << number;
    }
    for (const int number : {SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP}) {
      EXPECT_FALSE(is_masked(number)) << number;
    }
  }).join();
  EXPECT_FALSE(is_masked(SIGTERM)) << "in the thread that started it";
}

TEST(QuietThread, StopsAsAThreadOfItsKindDoes) {
  bool stopped = false;
  {
    const auto thread = base::quiet_thread<std::jthread>([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) std::this_thread::yield();
      stopped = true;
    });
  }
  EXPECT_TRUE(stopped);
}

struct NoMoreThreads {
  explicit NoMoreThreads(int /*body*/) {
    EXPECT_TRUE(is_masked(SIGTERM));
    throw std::runtime_error("no more threads");
  }
};

TEST(QuietThread, ThatCannotBeStartedLeavesTheMaskOfTheCaller) {
  sigset_t some;
  sigemptyset(&some);
  sigaddset(&some, SIGUSR2);
  std::thread([&] {
    pthread_sigmask(SIG_SETMASK, &some, nullptr);
    EXPECT_THROW(base::quiet_thread<NoMoreThreads>(1), std::runtime_error);
    EXPECT_TRUE(is_masked(SIGUSR2));
    EXPECT_FALSE(is_masked(SIGTERM));
  }).join();
}

}  // namespace
}  // namespace shmif::bus
