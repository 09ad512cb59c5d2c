#pragma once
// Requests to stop: SIGINT, SIGTERM and SIGHUP as a flag and a descriptor.

#include <csignal>
#include <initializer_list>

namespace shmif::tools {

/// While this exists, the stopping signals do not end the program. They set a flag and make a
/// descriptor readable. SIGUSR1 and SIGUSR2 have no effect, unless the program has handlers for
/// them. Only one may exist at a time. Child processes get the default dispositions at exec and an
/// unchanged signal mask. Threads: any thread may call signal() and descriptor().
class StopSignals {
 public:
  explicit StopSignals(std::initializer_list<int> signals = {SIGINT, SIGTERM, SIGHUP});
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  /// The first signal that came; 0 if none has come.
  int signal() const noexcept;
  bool stopped() const noexcept { return signal() != 0; }
  /// Whether a second signal came. Its sender does not want to wait for the work that is still to
  /// do.
  bool urged() const noexcept;
  /// Readable from the first signal on, for poll and epoll. Do not read from it.
  int descriptor() const noexcept;
  /// Once a signal has come, no write waits longer than about a second, until the process ends: a
  /// write that blocks fails with EINTR. For programs that print, perhaps to a reader that stands
  /// still. Uses SIGALRM.
  void bound_writes() const noexcept;
  /// Sleeps for `milliseconds`, or until a signal comes. Result: stopped().
  bool wait(int milliseconds) const noexcept;
};

}  // namespace shmif::tools
