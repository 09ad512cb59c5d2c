#include "base/signals.hpp"

#include <pthread.h>

namespace shmif::base {
namespace {

bool is_noted = false;
SignalState at_start;

}  // namespace

SignalState SignalState::now() noexcept {
  SignalState state;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &state.mask_);
  ::sigemptyset(&state.ignored_);
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction action{};
    if (::sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN)
      ::sigaddset(&state.ignored_, number);
  }
  return state;
}

void SignalState::restore() const noexcept {
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction action{};
    action.sa_handler = ::sigismember(&ignored_, number) == 1 ? SIG_IGN : SIG_DFL;
    (void)::sigaction(number, &action, nullptr);  // refused for SIGKILL and SIGSTOP
  }
  restore_mask();
}

void SignalState::restore_mask() const noexcept {
  ::pthread_sigmask(SIG_SETMASK, &mask_, nullptr);
}

void begin_with_plain_signals() noexcept {
  at_start = SignalState::now();
  is_noted = true;
  struct sigaction plain{};
  plain.sa_handler = SIG_DFL;
  (void)::sigaction(SIGCHLD, &plain, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

SignalState state_for_programs(const SignalState& otherwise) noexcept {
  return is_noted ? at_start : otherwise;
}

}  // namespace shmif::base
