#pragma once
// Gets a userfaultfd(2) of a program that this process starts, before the program's first
// instruction.
//
// The kernel gives such a descriptor only for the memory of the process that asks. So the process
// of the program makes two system calls for us: userfaultfd(2) and close(2). It makes them at the
// end of execve(2), when the kernel has just loaded the program. This is why nobody notices:
//
// E1  The process has one thread, no signal handler, no restartable sequence (rseq(2)), and no call
//     that could be interrupted. We restore its registers and its blocked signals afterwards.
// E2  We read nothing that a program could have put there: the kernel tells where the vDSO is
//     (auxv), the vDSO is the kernel's own memory, and its `syscall` instruction makes the calls.
//     Since execve(2) no other process has the same table of descriptors, so the number that
//     userfaultfd(2) returned is this descriptor and no file.
// E3  When the program begins, the descriptor is closed there. So no child of the program inherits
//     it: only this process has it, with O_CLOEXEC. When this process ends, even by SIGKILL, the
//     kernel removes all protection together with the descriptor.
// E4  Signals stay pending during the two calls. Only SIGSTOP cannot be blocked: we pass it on, and
//     the kernel stops the process when we let it go. If this process ends meanwhile, the kernel
//     kills the program (PTRACE_O_EXITKILL), which has done nothing yet.

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "instruments/watch/held_child.hpp"

namespace shmif::perf {

/// Whether begin_with_userfaultfd() can work on this processor.
bool can_call_at_exec() noexcept;

struct BegunProgram {
  Result<void> begun;            ///< as HeldChild::release()
  Result<UniqueFd> userfaultfd;  ///< or why there is none; the program has begun without
};
/// Lets the program of `child` begin. Threads: the thread that started the child. Blocks: as
/// HeldChild::release().
BegunProgram begin_with_userfaultfd(HeldChild& child);

}  // namespace shmif::perf
