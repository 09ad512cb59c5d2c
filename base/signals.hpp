#pragma once
// Signals: the state that a program inherits from its parent, system calls that raise a signal, and
// threads that take none.
//
// nohup, CI runners and Python's subprocess start programs with SIGCHLD or SIGPIPE ignored, or with
// SIGTERM, SIGINT or SIGCHLD blocked. With SIGCHLD ignored, the kernel keeps no status of children;
// with SIGTERM blocked, only SIGKILL ends a program. So a program of ours begins with a plain
// state, and restores the inherited one in the programs that it runs for its user.

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <cerrno>
#include <initializer_list>
#include <thread>
#include <utility>

namespace shmif::base {

/// A signal mask, and the set of ignored signals. Threads: the mask is that of the calling thread.
class SignalState {
 public:
  static SignalState now() noexcept;
  /// Applies this state: a signal that is not ignored gets its default action. Safe in a forked
  /// child.
  void restore() const noexcept;
  void restore_mask() const noexcept;
  void set_mask(const sigset_t& mask) noexcept { mask_ = mask; }

 private:
  sigset_t mask_{};
  sigset_t ignored_{};
};

/// Notes the state with which the program was started. Then unblocks all signals, and gives SIGCHLD
/// its default action. Other ignored signals stay ignored on purpose: SIGHUP by nohup, and SIGPIPE
/// by systemd, so that no service ends when the reader of its messages has gone. Call it first in
/// main().
void begin_with_plain_signals() noexcept;

/// The state for a program that the user has asked for: the one that begin_with_plain_signals()
/// noted, or `otherwise` if that was not called.
SignalState state_for_programs(const SignalState& otherwise) noexcept;

/// For a library that leaves signals to the program. While it exists, signals that a write of this
/// thread raises (SIGPIPE, SIGXFSZ) do not end the process; the call fails with EPIPE or EFBIG
/// instead. How the process handles these signals does not change: they are blocked in this thread,
/// and a signal that was raised meanwhile is taken back.
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

/// Starts a std::thread or std::jthread that takes no signals, so the other threads get them. It
/// does take the signals that its own faults raise: if they were blocked, a fault would end the
/// process, whatever handlers it has. The mask of the calling thread does not change. Throws
/// std::system_error if no thread can be started.
template <class Thread, class Body>
Thread quiet_thread(Body&& body) {
  class Mask {
   public:
    Mask() noexcept {
      sigset_t all;
      sigfillset(&all);
      for (const int fault : {SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP}) sigdelset(&all, fault);
      pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    Mask(const Mask&) = delete;
    Mask& operator=(const Mask&) = delete;
    ~Mask() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

   private:
    sigset_t before_{};
  };
  const Mask mask;
  return Thread(std::forward<Body>(body));
}

}  // namespace shmif::base
