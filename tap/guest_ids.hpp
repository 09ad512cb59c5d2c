#pragma once
// Which user and group ids exist in a guest. Internal to tap/guest.

#include <sys/types.h>

#include <string>
#include <vector>

#include "bus/result.hpp"

namespace shmif::tap {

struct GuestIds {
  bool single = false;  ///< 0 is the only id: root's calls to become somebody else would fail
  std::vector<std::string> notes;
};

/// Maps the ids of the user namespace of `init`, a child of this process that waits for it: for
/// root every id to itself, for an ordinary user 0 to the user and what /etc/subuid and /etc/subgid
/// allow behind it, or 0 alone. Blocks: while newuidmap and newgidmap run. Errors: not_supported.
Result<GuestIds> map_guest_ids(pid_t init);

/// Makes setgroups and the set*id calls of this process and its descendants answer 0 and do
/// nothing, and so chown to an id that does not exist, for a user namespace with a single id.
/// Errors: the system's.
Result<void> pretend_to_change_ids();

}  // namespace shmif::tap
