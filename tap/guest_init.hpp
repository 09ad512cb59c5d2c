#pragma once
// Init of a guest: pid 1 of its namespaces. Internal to tap/guest.

#include <signal.h>
#include <sys/types.h>

#include <string>

#include "tap/guest.hpp"

namespace shmif::tap {

struct GuestPlan {
  const GuestOptions& options;
  bool entered;                    ///< the guest is there, and has an init of its own
  sigset_t command_mask;           ///< the caller's signal mask, which the command gets
  struct sigaction command_child;  ///< the caller's disposition of SIGCHLD, likewise
  uid_t outer_uid;
  bool apart = false;     ///< nothing of the caller's session and terminal goes into the guest
  int terminal = -1;      ///< apart: what takes the place of our terminal in standard streams
  int foreign_init = -1;  ///< apart: a pidfd of the guest's init
  std::string directory;  ///< entered: where the command starts if there is such a directory
};

/// What the process does that clone made with the guest's namespaces, or in those of a guest that
/// runs already. Speaks with the supervisor
/// over `socket` and closes every other descriptor that is marked close-on-exec.
[[noreturn]] void run_guest_init(const GuestPlan& plan, int socket) noexcept;

}  // namespace shmif::tap
