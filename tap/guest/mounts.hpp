#pragma once
// What a guest finds in its file system.

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "tap/cidr.hpp"

namespace shmif::tap {

/// The source of the mounts that a guest has to itself, in /proc/self/mountinfo.
inline constexpr const char* kGuestMount = "shmif";

struct GuestMounts {
  std::vector<std::string> notes;  ///< about what was not possible
  bool etc_is_private = false;     ///< changes in /etc stay in the guest
};

/// Makes the calling process's mount namespace a guest's: fresh /proc and /sys, a private /run,
/// private state directories, and private layers over /etc and /var/lib; for an ordinary user, also
/// over /var/log and /var/cache. `outer_uid`: the guest's caller, for /run/user/UID. If there is a
/// list of `name_servers`, it replaces those in the guest's /etc/resolv.conf. Errors: not_supported
/// if mounting is forbidden altogether, otherwise bad_argument.
Result<GuestMounts> arrange_guest_mounts(uid_t outer_uid,
                                         const std::optional<std::vector<IpAddress>>& name_servers);

}  // namespace shmif::tap
