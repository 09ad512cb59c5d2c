#pragma once
// quiet_thread(): starts a thread that leaves the program's signals to the program's own threads.

#include <pthread.h>
#include <signal.h>

#include <thread>
#include <utility>

namespace shmif::base {

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
