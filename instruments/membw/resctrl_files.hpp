#pragma once
// Reads the files of the resctrl file system that measuring memory bandwidth needs.
//
// Threads: any. Blocks: never.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace shmif::perf {

/// The value in a file mon_data/mon_L3_NN/mbm_total_bytes or mbm_local_bytes.
struct MbmValue {
  enum class State {
    counted,
    unavailable,  ///< "Unavailable": the hardware has no value now; a later read may give one
    unassigned,   ///< "Unassigned": no counter is assigned to this event of this group
    failed,       ///< "Error": the hardware refused the event
  } state = State::counted;
  std::uint64_t bytes = 0;  ///< since the group was made; only if `counted`
};
/// Errors: Errc::bad_argument for other text, and for a line without a newline.
Result<MbmValue> read_mbm_value(std::string_view text);

/// How much a counter that only grows has grown from `before` to `after`, also if it passed 2^64.
/// Empty if it was reset meanwhile.
std::optional<std::uint64_t> grown_by(std::uint64_t before, std::uint64_t after) noexcept;

/// The mode in brackets in info/L3_MON/mbm_assign_mode: "mbm_event" or "default". Errors:
/// Errc::bad_argument if there is not exactly one.
Result<std::string> read_assign_mode(std::string_view text);

/// A file mbm_L3_assignments: the state ("e", "_") of each event in each domain. Errors:
/// Errc::bad_argument for other text.
using MbmAssignments = std::map<std::string, std::map<unsigned, std::string>>;
Result<MbmAssignments> read_mbm_assignments(std::string_view text);

/// The number of a directory mon_L3_NN; empty for other names.
std::optional<unsigned> l3_domain_of(std::string_view name);

/// Where a file system of type resctrl is mounted, according to a text as in /proc/mounts. Empty if
/// there is no such mount.
std::optional<std::string> resctrl_mount_in(std::string_view mounts);

/// The numbers in a file `tasks`, one on each line. Errors: Errc::bad_argument for other text.
Result<std::vector<int>> read_tasks(std::string_view text);

}  // namespace shmif::perf
