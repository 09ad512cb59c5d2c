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
  uid_t user = 0;           ///< as whom its processes run
  bool is_foreign = false;  ///< that is another user than ours, or the namespaces are another's
};

/// Looks at the guest whose init is `init`, held by the pidfd `init_file`. Errors: the system's,
/// with what to do.
Result<GuestTarget> look_at_guest(pid_t init, int init_file);

/// Moves the calling process, which has one thread, into the namespaces of the guest whose init is
/// held by the pidfd `init_file`: its children are processes of that guest. For a foreign guest
/// only the children are moved, and only into the pid namespace: otherwise processes in there could
/// stop or kill the calling process, which would leave its terminal in raw mode. Errors: the
/// system's, with what to do.
Result<void> join_guest(const GuestTarget& target, int init_file);

/// Moves the calling process, a child of one that called join_guest(), into the other namespaces of
/// a foreign guest, as its root. Nothing of the caller's rights is left, and nobody in there may
/// trace it, look into it or take its descriptors. Errors: the system's, with what to do.
Result<void> become_foreign_guest(int init_file);

}  // namespace shmif::tap
