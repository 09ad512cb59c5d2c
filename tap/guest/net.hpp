#pragma once
// The interfaces of a guest, made from inside its network namespace. Internal to tap/guest.

#include <vector>

#include "base/result.hpp"
#include "tap/guest/guest.hpp"

namespace shmif::tap {

struct GuestEnd {
  LinkKind kind = LinkKind::tap;
  UniqueFd descriptor;  ///< for the program that serves the far end
  MacAddress mac;
  unsigned index = 0;
};

/// Makes every interface of the options in the calling process's network namespace. If a veth pair
/// needs a second one, the process leaves its namespace and returns. At the end the interfaces are
/// up, have carrier, addresses and routes, and loopback is up. Errors: not_supported, or the
/// system's.
Result<std::vector<GuestEnd>> make_guest_interfaces(const GuestOptions& options);

/// A netlink socket that reports every change of the interfaces in the calling process's namespace.
Result<UniqueFd> open_interface_watch();

}  // namespace shmif::tap
