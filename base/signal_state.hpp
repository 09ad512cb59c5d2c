#pragma once
// The signal state that a program inherits from its parent: the mask, and the ignored signals.
//
// nohup, CI runners and Python's subprocess start programs with SIGCHLD or SIGPIPE ignored, or with
// SIGTERM, SIGINT or SIGCHLD blocked. With SIGCHLD ignored, the kernel keeps no status of children;
// with SIGTERM blocked, only SIGKILL ends a program. So a program of ours begins with a plain
// state, and restores the inherited one in the programs that it runs for its user.

#include <signal.h>

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

}  // namespace shmif::base
