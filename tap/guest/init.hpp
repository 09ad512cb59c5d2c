#pragma once
// Init of a guest: pid 1 of its namespaces. Internal to tap/guest.

#include <sys/types.h>

#include <string>

#include "base/signals.hpp"
#include "tap/guest/guest.hpp"

namespace shmif::tap {

struct GuestPlan {
  const GuestOptions& options;
  bool entered;                       ///< the guest runs already, and has an init of its own
  base::SignalState command_signals;  ///< what the command inherits
  uid_t outer_uid;
  bool apart = false;     ///< the guest gets no part of the caller's session and terminal
  int terminal = -1;      ///< apart: replaces our terminal in the standard streams
  int foreign_init = -1;  ///< apart: a pidfd of the guest's init
  std::string directory;  ///< entered: where the command starts, if that directory exists
};

/// All that the process does that clone() made, in the guest's new namespaces or in those of a
/// running guest. It talks to the supervisor over `socket`, and closes every other descriptor that
/// is marked close-on-exec.
[[noreturn]] void run_guest_init(const GuestPlan& plan, int socket) noexcept;

}  // namespace shmif::tap
