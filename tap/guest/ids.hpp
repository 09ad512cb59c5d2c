#pragma once
// Which user and group ids exist in a guest. Internal to tap/guest.

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.hpp"

namespace shmif::tap {

struct GuestIds {
  bool single = false;  ///< 0 is the only id: root cannot become another user
  std::vector<std::string> notes;
};

/// Maps the ids of the user namespace of `init`, a child of this process that waits for it. For
/// root, every id is mapped to itself. For an ordinary user, 0 is the user, and the ranges of
/// /etc/subuid and /etc/subgid follow; without such ranges, 0 is the only id. Blocks: while
/// newuidmap and newgidmap run. Errors: not_supported, or an errno.
Result<GuestIds> map_guest_ids(pid_t init);

/// For a user namespace with a single id: makes setgroups and the set*id calls of this process and
/// its descendants return 0 without effect. Does the same for chown to an id that does not exist.
/// Errors: an errno.
Result<void> pretend_to_change_ids();

}  // namespace shmif::tap
