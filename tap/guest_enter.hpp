#pragma once
// Joining a guest that runs. Internal to tap/guest.

#include <linux/sched.h>
#include <sys/types.h>

#include "bus/result.hpp"

namespace shmif::tap {

/// What a guest has of its own.
inline constexpr unsigned long kGuestNamespaces =
    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;

/// A guest to be joined.
struct GuestTarget {
  bool single_id = false;   ///< 0 is the only id in there
  uid_t owner = 0;          ///< the user whose namespaces they are
  bool is_foreign = false;  ///< that is another user than ours
};

/// Looks at the guest whose init is `init`, held by the pidfd `init_file`. Errors: the system's,
/// with what to do.
Result<GuestTarget> look_at_guest(pid_t init, int init_file);

/// Moves the calling process, which has one thread, into the namespaces of the guest whose init is
/// held by the pidfd `init_file`: its children are processes of that guest. The working directory
/// is the one of the same name in there, or "/". In a foreign guest, the process becomes its root,
/// and nobody in there may trace it, look into it or take its descriptors. Errors: the system's,
/// with what to do.
Result<void> join_guest(const GuestTarget& target, int init_file);

}  // namespace shmif::tap
