// A guard leaves the signals of its program as they were.

#include "base/signal_guard.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <thread>

namespace shmif::bus {
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
      const base::SignalGuard guard(SIGPIPE, SIGXFSZ);
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
      const base::SignalGuard guard(SIGPIPE, SIGXFSZ);
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

}  // namespace
}  // namespace shmif::bus
