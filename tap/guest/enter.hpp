#pragma once
// Joining a running guest. Internal to tap/guest.

#include <linux/sched.h>
#include <sys/types.h>

#include "base/result.hpp"

namespace shmif::tap {

/// The namespaces that a guest has of its own.
inline constexpr unsigned long kGuestNamespaces =
    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;

/// A guest to join.
struct GuestTarget {
  bool single_id = false;   ///< 0 is the only id in it
  uid_t user = 0;           ///< the user that the guest's processes run as
  bool is_foreign = false;  ///< that user, or the owner of the namespaces, is not our user
};

/// Looks at the guest whose init is `init`, held by the pidfd `init_file`. Errors: an errno,
/// with what to do.
Result<GuestTarget> look_at_guest(pid_t init, int init_file);

/// Moves the calling process, which has one thread, into the namespaces of the guest whose init is
/// held by the pidfd `init_file`. Its children become processes of that guest. For a foreign guest
/// only the children move, and only into the pid namespace. Otherwise processes of the guest could
/// stop or kill the calling process, which would leave its terminal in raw mode. Errors: the
/// system's, with what to do.
Result<void> join_guest(const GuestTarget& target, int init_file);

/// Moves the calling process, a child of one that called join_guest(), into the other namespaces of
/// a foreign guest, as its root. The process loses all rights of the caller. No process of the
/// guest may trace it, look into it or take its descriptors. Errors: an errno, with what to do.
Result<void> become_foreign_guest(int init_file);

}  // namespace shmif::tap
