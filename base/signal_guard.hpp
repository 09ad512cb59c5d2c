#pragma once
// SignalGuard: for system calls that may raise a signal, in a library that leaves signals to the
// program.

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <cerrno>
#include <initializer_list>

namespace shmif::base {

/// While it exists, signals that a write of this thread raises (SIGPIPE, SIGXFSZ) do not end the
/// process; the call fails with EPIPE or EFBIG instead. How the process handles these signals does
/// not change: they are blocked in this thread, and a signal that was raised meanwhile is taken
/// back.
class SignalGuard {
 public:
  template <class... Signal>
  explicit SignalGuard(Signal... signals) noexcept {
    sigemptyset(&guarded_);
    (sigaddset(&guarded_, signals), ...);
    sigset_t pending;
    sigpending(&pending);
    // A signal that was already pending is not ours to take.
    for (const int number : {signals...}) {
      if (sigismember(&pending, number) == 1) sigdelset(&guarded_, number);
    }
    pthread_sigmask(SIG_BLOCK, &guarded_, &before_);
  }
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;
  ~SignalGuard() {
    const int error = errno;
    const timespec at_once{};
    while (sigtimedwait(&guarded_, nullptr, &at_once) > 0 || errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
  }

 private:
  sigset_t guarded_{};
  sigset_t before_{};
};

}  // namespace shmif::base
