#pragma once
// What a guest finds in its file system. Internal to tap/guest.

#include <sys/types.h>

#include <string>
#include <vector>

#include "bus/result.hpp"

namespace shmif::tap {

/// Makes the calling process's mount namespace a guest's: fresh /proc and /sys, a private /run,
/// private state directories and a private layer over /etc. `outer_uid` is who called us, for
/// /run/user/UID. Result: notes about what could not be had. Errors: not_supported, when mounting
/// is forbidden altogether.
Result<std::vector<std::string>> arrange_guest_mounts(uid_t outer_uid);

}  // namespace shmif::tap
