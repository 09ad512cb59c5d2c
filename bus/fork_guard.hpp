#pragma once
// Tells a process from the child it forked. The child has no mapping of the bus (MADV_DONTFORK), so
// no call may touch it.

#include <signal.h>

#include <cstdint>

namespace shmif::bus {

/// A token of this process, to be kept in an object. Threads: safe. Result: 0, and errno, when
/// there is no memory for the page that tells processes apart; then nothing may be attached.
std::uint64_t process_token() noexcept;

/// Keeps fork() in other threads waiting as long as it lives, for the few system calls in which a
/// child would inherit what must stay this process's. A child that is made without the handlers of
/// pthread_atfork(3), as by a bare clone(2), still inherits it. Blocks: while another thread has
/// one, or is inside fork(). Signals are blocked in the thread, since a handler may call fork().
class ForkHold {
 public:
  ForkHold() noexcept;
  ForkHold(const ForkHold&) = delete;
  ForkHold& operator=(const ForkHold&) = delete;
  ~ForkHold();

 private:
  sigset_t before_{};
  bool locked_ = false;
};

/// Whether the token was drawn in this very process. Costs one load. Threads: safe.
bool is_this_process(std::uint64_t token) noexcept;

}  // namespace shmif::bus
