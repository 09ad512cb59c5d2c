#pragma once
// Joining a guest that runs. Internal to tap/guest.

#include <linux/sched.h>
#include <sys/types.h>

#include "bus/result.hpp"

namespace shmif::tap {

/// What a guest has of its own.
inline constexpr unsigned long kGuestNamespaces =
    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;

/// Moves the calling process, which has one thread, into the namespaces of the guest whose init is
/// `init`, held by the pidfd `init_file`: its children are processes of that guest. The working
/// directory is the one of the same name in there, or "/". Result: whether 0 is the only id in
/// there. Errors: the system's, with what to do.
Result<bool> join_guest(pid_t init, int init_file);

}  // namespace shmif::tap
