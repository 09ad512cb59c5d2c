// Requests to stop a command: they are caught while it wants that, and as before afterwards.

#include "tools/common/signals.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <iterator>

namespace shmif::tools {
namespace {

using Handler = void (*)(int);

Handler handler_of(int number) {
  struct sigaction action{};
  sigaction(number, nullptr, &action);
  return action.sa_handler;
}

/// Sets a handler, and the one from before at the end.
class Disposition {
 public:
  Disposition(int number, Handler handler) : number_(number), was_(std::signal(number, handler)) {}
  Disposition(const Disposition&) = delete;
  Disposition& operator=(const Disposition&) = delete;
  ~Disposition() { std::signal(number_, was_); }

 private:
  int number_;
  Handler was_;
};

bool is_readable(int descriptor) {
  pollfd entry{descriptor, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

std::ptrdiff_t open_files() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

TEST(StoppingSignals, AreCaughtWhileTheyAreWantedEachTimeAnew) {
  const Disposition quit(SIGQUIT, SIG_IGN);
  const std::array<int, 3> usual{SIGINT, SIGTERM, SIGHUP};
  std::array<Handler, 3> before{};
  for (std::size_t i = 0; i < usual.size(); ++i) before[i] = handler_of(usual[i]);
  const std::ptrdiff_t files = open_files();
  for (const int number : {SIGTERM, SIGHUP, SIGINT}) {
    {
      const StopSignals stop;
      EXPECT_EQ(stop.signal(), 0) << "of the one before";
      EXPECT_FALSE(stop.wait(0));
      EXPECT_FALSE(is_readable(stop.descriptor()));
      EXPECT_NE(::fcntl(stop.descriptor(), F_GETFD) & FD_CLOEXEC, 0);
      ASSERT_EQ(::raise(number), 0);
      EXPECT_EQ(stop.signal(), number);
      EXPECT_TRUE(is_readable(stop.descriptor()));
      ASSERT_EQ(::raise(number == SIGINT ? SIGTERM : SIGINT), 0);
      EXPECT_EQ(stop.signal(), number) << "the first one counts";
      const auto begin = std::chrono::steady_clock::now();
      EXPECT_TRUE(stop.wait(60'000));
      EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
      EXPECT_EQ(handler_of(SIGQUIT), SIG_IGN);
    }
    for (std::size_t i = 0; i < usual.size(); ++i) EXPECT_EQ(handler_of(usual[i]), before[i]) << i;
    EXPECT_EQ(open_files(), files);
  }
}

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

TEST(StoppingSignals, ThatWereIgnoredStopAllTheSameExceptAHangup) {
  const Disposition hangup(SIGHUP, SIG_IGN), interrupt(SIGINT, SIG_IGN);
  {
    const StopSignals stop;
    ASSERT_EQ(::raise(SIGHUP), 0);
    EXPECT_EQ(stop.signal(), 0);
    ASSERT_EQ(::raise(SIGINT), 0);
    EXPECT_EQ(stop.signal(), SIGINT);
  }
  EXPECT_EQ(handler_of(SIGHUP), SIG_IGN);
  EXPECT_EQ(handler_of(SIGINT), SIG_IGN);
}

}  // namespace
}  // namespace shmif::tools
