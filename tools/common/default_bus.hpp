#pragma once
// SHMIF_BUS: the bus of a command whose line names none.
//
// The variable fills a gap and decides nothing else: a line that is complete without it means the
// same with it. So a script that names its buses works in every environment. docs/decisions.md says
// which commands do without it, and why.

#include <optional>
#include <string>

namespace shmif::tools {

inline constexpr const char* kBusVariable = "SHMIF_BUS";

/// The path in SHMIF_BUS. An empty variable is the same as none. Threads: any, as getenv(3).
std::optional<std::string> default_bus();

/// Notes that the command is about `path`, which is that of default_bus(). Result: `path`.
/// Threads: one, before others exist.
const std::string& note_default_bus(const std::string& path);

/// `message`, which says of the noted path that it came from SHMIF_BUS: the user has not written
/// it, and may not expect it. As it is, if no path was noted, or the message does not name it.
/// Threads: any.
std::string with_origin_of_bus(std::string message);

}  // namespace shmif::tools
