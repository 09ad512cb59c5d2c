#pragma once
// What works on this machine, found out by trying it.

#include <cstdint>
#include <string>
#include <vector>

namespace shmif::tools {

enum class Health : std::uint8_t {
  works,
  limited,  ///< something that not everybody needs does not work
  fails,    ///< buses or hosts do not work
};

/// What was tried.
struct Finding {
  const char* subject;  ///< a word: "buses"
  Health health;
  std::string text;    ///< what works, or why it does not
  std::string remedy;  ///< what to do; empty if nothing need be done
};

/// Tries a bus in `folder`, a host on it, namespaces, the TUN device, /proc, seccomp filters,
/// control groups, limits, and which programs of others are there. `shmifctl`: the program that
/// runs the host. Leaves nothing behind. Threads: one at a time. Blocks: while a host starts and
/// ends, at most ten seconds.
std::vector<Finding> check_machine(const std::string& folder, const std::string& shmifctl);

/// "ok", "limited" or "FAILS".
const char* to_string(Health health) noexcept;

}  // namespace shmif::tools
