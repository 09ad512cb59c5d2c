// What programs inherit of signals: all that was ignored and blocked when this one was started.

#include "base/signals.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

namespace shmif::base {
namespace {

/// Runs `body` in a child, whose signals are its own. Result: what it returned.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void dispose(int number, void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  ::sigaction(number, &action, nullptr);
}
bool has(int number, void (*handler)(int)) {
  struct sigaction action{};
  return ::sigaction(number, nullptr, &action) == 0 && action.sa_handler == handler;
}
void block_only(int number) {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, number);
  ::sigprocmask(SIG_SETMASK, &set, nullptr);
}
bool is_blocked(int number) {
  sigset_t set;
  ::sigprocmask(SIG_SETMASK, nullptr, &set);
  return ::sigismember(&set, number) == 1;
}

TEST(SignalState, OfProgramsIsTheOneAtTheStart) {
  EXPECT_EQ(in_child([] {
              const int ignored[] = {SIGHUP, SIGCHLD, SIGPIPE, SIGRTMIN, SIGRTMIN + 1, SIGRTMAX};
              for (const int number : ignored) dispose(number, SIG_IGN);
              dispose(SIGUSR1, SIG_DFL);
              block_only(SIGTERM);
              begin_with_plain_signals();
              if (!has(SIGCHLD, SIG_DFL) || is_blocked(SIGTERM)) return 1;
              if (!has(SIGHUP, SIG_IGN) || !has(SIGRTMIN + 1, SIG_IGN)) return 2;
              for (const int number : ignored) dispose(number, SIG_DFL);
              dispose(SIGUSR1, SIG_IGN);
              dispose(SIGRTMIN + 2, SIG_IGN);
              block_only(SIGINT);
              state_for_programs(SignalState::now()).restore();
              for (const int number : ignored) {
                if (!has(number, SIG_IGN)) return 100 + number;
              }
              if (!has(SIGUSR1, SIG_DFL) || !has(SIGRTMIN + 2, SIG_DFL)) return 3;
              return is_blocked(SIGTERM) && !is_blocked(SIGINT) ? 0 : 4;
            }),
            0);
}

TEST(SignalState, WithoutANotedStartIsTheGivenOneWithItsMask) {
  EXPECT_EQ(in_child([] {
              dispose(SIGRTMAX, SIG_IGN);
              dispose(SIGUSR2, [](int) {});
              block_only(SIGUSR1);
              SignalState now = SignalState::now();
              block_only(SIGINT);
              dispose(SIGRTMAX, SIG_DFL);
              now.restore_mask();
              if (!is_blocked(SIGUSR1) || is_blocked(SIGINT)) return 1;
              if (!has(SIGRTMAX, SIG_DFL)) return 2;  // only the mask
              sigset_t other;
              ::sigemptyset(&other);
              ::sigaddset(&other, SIGTERM);
              now.set_mask(other);
              state_for_programs(now).restore();
              if (!has(SIGRTMAX, SIG_IGN) || !has(SIGUSR2, SIG_DFL)) return 3;
              return is_blocked(SIGTERM) && !is_blocked(SIGUSR1) ? 0 : 4;
            }),
            0);
}

}  // namespace
}  // namespace shmif::base
