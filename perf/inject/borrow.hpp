#pragma once
// Gets a userfaultfd(2) of another process, and that process never notices.
//
// The kernel gives such a descriptor only for the memory of the process that asks. So we make one
// of that process's threads ask. The thread runs a piece of code (the stub), and we fetch the
// descriptor with pidfd_getfd(2). Three rules keep the process whole, even if SIGKILL ends us
// before, between or after any two calls of ptrace(2). The kernel then lets all of its threads go.
//
// S1  The stub needs no help. Its code contains the thread's registers and blocked signals as
//     numbers. It closes the descriptor itself, restores registers and signals, and jumps to where
//     the thread was. It does not use the stack or change a flag, so it need not restore anything
//     else. We lead the thread into the stub by one change of its registers (PTRACE_SETREGS), which
//     happens as a whole or not at all: before it, the thread is untouched; after it, the thread
//     finds its way back alone.
// S2  The stub lies in unused bytes: behind the end of the vDSO's image, in the last page of the
//     vDSO's mapping. Every 64-bit program has this mapping, and can execute it. Writing there
//     makes a private copy of that page. We write the stub before S1's change, and zero it after
//     the last change. A killed monitor can leave a stub behind. We replace such a stub only if
//     there is no other place, all threads are stopped, no thread is in it, and no thread has a
//     return address into it on its stack. We never lead a thread that is in a stub into another
//     one, because that one would jump back into the first.
// S3  An interrupted call is restarted. When the monitor restores the registers itself, it restores
//     the kernel's notes about the call, too (orig_rax). The kernel then restarts the call, or ends
//     it with EINTR if a handler runs. If the monitor was killed, the stub goes back to the call
//     instruction, as the kernel does when no handler runs. Race-free calls (sigsuspend(2),
//     ppoll(2)) begin with their old mask, and see a signal that came meanwhile.
//
// While the monitor lives, a signal that arrives in the stub is delivered where the thread was: the
// monitor first restores the registers, and tries the stub again later, up to 20 times in all. Some
// calls, such as epoll_wait(2), end with EINTR whenever their thread is stopped. They are made once
// more, with their whole timeout. If other threads can be stopped, those that wait in such calls
// are usually left alone.
//
// Some threads are never led into the stub: a thread inside a restartable sequence (rseq(2)), which
// the kernel would no longer restart; a thread that executes 32-bit code; a thread with a seccomp
// filter, which might kill it; and a thread with syscall user dispatch, which would see the stub's
// calls.

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "perf/watch/process.hpp"

namespace shmif::perf {

/// Gets a userfaultfd(2) of `process`. Threads: any; it works in a thread of its own. Blocks:
/// usually a millisecond; seconds on a busy machine. The other process stands still meanwhile.
/// Errors: ESRCH; EPERM with the setting to change; Errc::busy if the process is traced or stopped,
/// or gets signals all the time; Errc::not_supported, with the reason, if no thread of it can run
/// the stub.
Result<UniqueFd> borrow_userfaultfd(const TaskId& process);

}  // namespace shmif::perf
