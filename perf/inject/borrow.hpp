#pragma once
// A userfaultfd(2) of another process, which then never notices it.
//
// The kernel gives such a descriptor only for the memory of the process that asks. So one of its
// threads is made to ask. It runs a piece of code (the stub) for that, whose descriptor is fetched
// with pidfd_getfd(2). Three rules keep the process whole, even if this one is killed by SIGKILL
// before, between or after any two calls of ptrace(2). The kernel then lets all its threads go.
//
// S1  The stub needs nobody's help. It has the thread's registers and blocked signals as numbers in
//     its code, closes the descriptor itself, puts all back, and jumps to where the thread was. It
//     uses no stack and no flag, so nothing else has to be put back. The thread is led into it by
//     one change of its registers (PTRACE_SETREGS), which happens as a whole or not at all: before
//     it, the thread has not been touched; after it, the thread finds its way home alone.
// S2  The stub lies where nothing else is: behind the end of the vDSO's image, in the last page of
//     its mapping, which every 64-bit program has, and can execute. Writing there makes a private
//     copy of that page. It is written before S1's change, and zeroed after the last one. A stub
//     that was left behind by a killed monitor is replaced only when no other place is left, all
//     threads are stopped, none is in it, and none has a return address into it on its stack. A
//     thread that is in a stub is not led into another one, which would go back there.
// S3  An interrupted call is restarted. Until the monitor puts the registers back itself, the
//     kernel's notes about it are untouched (orig_rax), and the kernel restarts it, or ends it with
//     EINTR if a handler runs. If the monitor was killed, the stub goes back to the call
//     instruction, as the kernel does when no handler runs. Race-free calls (sigsuspend(2),
//     ppoll(2)) begin with their old mask, and see a signal that came meanwhile.
//
// While the monitor lives, a signal that arrives in the stub is delivered where the thread was: the
// registers are put back first, and the stub is tried again later, up to 20 times. Calls that end
// with EINTR whenever a thread is stopped, as epoll_wait(2) does, are made once more, with their
// whole timeout; of several threads, those that wait in such calls are usually not stopped at all.
//
// Not entered are: a thread inside of a restartable sequence (rseq(2)), which the kernel would no
// longer restart; 32-bit code; a thread with a seccomp filter, which might kill it, or with syscall
// user dispatch, which would see the stub's calls.

#include <cstdint>
#include <functional>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "perf/watch/process.hpp"

namespace shmif::perf {

struct BorrowOptions {
  /// Called before each change of the other process. For tests, which end this one there.
  std::function<void()> before_step = [] {};
};

/// Threads: any; it works in one of its own. Blocks: usually a millisecond; seconds on a busy
/// machine. The other process stands still meanwhile. Errors: ESRCH; EPERM with the setting to
/// change; Errc::busy if it is traced or stopped, or gets signals all the time;
/// Errc::not_supported if none of its threads can be entered, and why.
Result<UniqueFd> borrow_userfaultfd(const TaskId& process, const BorrowOptions& options = {});

}  // namespace shmif::perf
