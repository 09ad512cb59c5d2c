// Requests to stop a command: they end writes that wait, where the command wants that.

#include "tools/common/signals.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <csignal>

namespace shmif::tools {
namespace {

/// Whether an alarm was set, which is then taken back.
bool was_alarm_set() {
  return ::alarm(0) != 0;
}

TEST(StoppingSignals, EndEachWriteThatWaitsOnlyWhereThatIsWanted) {
  struct sigaction before{};
  sigaction(SIGALRM, nullptr, &before);
  {
    const StopSignals stop;
    std::raise(SIGTERM);
    EXPECT_FALSE(was_alarm_set()) << "not wanted";
    stop.bound_writes();
    EXPECT_TRUE(was_alarm_set()) << "the signal had come already";
    std::raise(SIGALRM);
    EXPECT_TRUE(was_alarm_set()) << "for the next write";
    struct sigaction now{};
    sigaction(SIGALRM, nullptr, &now);
    EXPECT_EQ(now.sa_flags & SA_RESTART, 0) << "the write would go on";
  }
  {
    const StopSignals stop;
    stop.bound_writes();
    EXPECT_FALSE(was_alarm_set()) << "no signal has come";
    std::raise(SIGINT);
    EXPECT_TRUE(was_alarm_set());
    std::raise(SIGUSR1);
    EXPECT_FALSE(was_alarm_set());
  }
  const StopSignals next;
  std::raise(SIGINT);
  EXPECT_FALSE(was_alarm_set()) << "wanted by the one before";
  sigaction(SIGALRM, &before, nullptr);
}

}  // namespace
}  // namespace shmif::tools
