#pragma once
// Tells a process from its forked child. The child has no mapping of the bus (MADV_DONTFORK), so no
// call in the child may touch the bus.

#include <signal.h>

#include <cstdint>

namespace shmif::base {

/// Returns a token of this process, which an object stores. Threads: safe. Result: 0, and errno, if
/// there is no memory for the page that tells processes apart; then no port may attach.
std::uint64_t process_token() noexcept;

/// While it exists, fork() in other threads waits. Use it around the few system calls in which a
/// child would inherit what only this process may have. A child that is made without the handlers
/// of pthread_atfork(3), for example by a bare clone(2), still inherits it. Blocks: while another
/// thread has a ForkHold, or is inside fork(). Signals are blocked in the thread, since a handler
/// may call fork().
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

/// Whether this process itself, not its parent, got the token. Costs one load. Threads: safe.
bool is_this_process(std::uint64_t token) noexcept;

}  // namespace shmif::base
