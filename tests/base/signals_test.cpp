// A guard leaves the signals of its program as they were. Signals are not for a quiet thread, and
// stay for the one that starts it.

#include "base/signals.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <stdexcept>
#include <thread>

namespace shmif::base {
namespace {

bool is_pending(int number) {
  sigset_t set;
  sigpending(&set);
  return sigismember(&set, number) == 1;
}

bool is_blocked(int number) {
  sigset_t set;
  pthread_sigmask(SIG_BLOCK, nullptr, &set);
  return sigismember(&set, number) == 1;
}

TEST(SignalGuard, TakesBackWhatWasRaisedMeanwhileAndNothingElse) {
  std::thread([] {  // signals are blocked and pending for one thread
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
    raise(SIGPIPE);  // the program's own, from before
    {
      const SignalGuard guard(SIGPIPE, SIGXFSZ);
      raise(SIGXFSZ);
      EXPECT_TRUE(is_pending(SIGXFSZ));
      errno = EFBIG;
    }
    EXPECT_EQ(errno, EFBIG) << "why the guarded call failed";
    EXPECT_FALSE(is_pending(SIGXFSZ));
    EXPECT_FALSE(is_blocked(SIGXFSZ));
    EXPECT_TRUE(is_blocked(SIGPIPE));
    const timespec at_once{};
    EXPECT_EQ(sigtimedwait(&pipe, nullptr, &at_once), SIGPIPE) << "it is still pending";
  })
      .join();
}

TEST(SignalGuard, TakesBackEachOfItsSignals) {
  std::thread([] {
    for (int round = 0; round < 2; ++round) {
      const SignalGuard guard(SIGPIPE, SIGXFSZ);
      raise(SIGXFSZ);
      raise(SIGPIPE);
      EXPECT_TRUE(is_pending(SIGPIPE));
      EXPECT_TRUE(is_pending(SIGXFSZ));
    }
    for (const int number : {SIGPIPE, SIGXFSZ}) {
      EXPECT_FALSE(is_pending(number)) << number;
      EXPECT_FALSE(is_blocked(number)) << number;
    }
  }).join();
}

TEST(QuietThread, TakesNoSignalsButThoseOfItsOwnFaults) {
  quiet_thread<std::thread>([] {
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGPIPE, SIGUSR1, SIGALRM}) {
      EXPECT_TRUE(is_blocked(number)) << number;
    }
    for (const int number : {SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP}) {
      EXPECT_FALSE(is_blocked(number)) << number;
    }
  }).join();
  EXPECT_FALSE(is_blocked(SIGTERM)) << "in the thread that started it";
}

TEST(QuietThread, StopsAsAThreadOfItsKindDoes) {
  bool stopped = false;
  {
    const auto thread = quiet_thread<std::jthread>([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) std::this_thread::yield();
      stopped = true;
    });
  }
  EXPECT_TRUE(stopped);
}

struct NoMoreThreads {
  explicit NoMoreThreads(int /*body*/) {
    EXPECT_TRUE(is_blocked(SIGTERM));
    throw std::runtime_error("no more threads");
  }
};

TEST(QuietThread, ThatCannotBeStartedLeavesTheMaskOfTheCaller) {
  sigset_t some;
  sigemptyset(&some);
  sigaddset(&some, SIGUSR2);
  std::thread([&] {
    pthread_sigmask(SIG_SETMASK, &some, nullptr);
    EXPECT_THROW(quiet_thread<NoMoreThreads>(1), std::runtime_error);
    EXPECT_TRUE(is_blocked(SIGUSR2));
    EXPECT_FALSE(is_blocked(SIGTERM));
  }).join();
}

}  // namespace
}  // namespace shmif::base
