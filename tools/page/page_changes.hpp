#pragma once
// Changes of ports while they run, for the page: what may be asked for, and what was changed.

#include <string>

#include "base/result.hpp"
#include "shmif/bus.hpp"
#include "tools/common/json.hpp"

namespace shmif::tools {

/// The body of POST /api/change.
struct ChangeWish {
  std::string bus;   ///< its name or its path
  std::string port;  ///< name; empty for partition and heal, which concern all ports
  std::string change;
};

/// Reads a body: {"bus": NAME, "port": NAME, "change": TEXT}. Errors: bad_argument, with the
/// correct form. It is also the error for moving a port to another bus: a page would name any path
/// of this machine.
Result<ChangeWish> read_change_wish(const std::string& body);

/// The journal of a bus, and what holds on its lines: docs/page.md. Threads: safe. Blocks: never.
Json changes_json(const Bus& bus);
Json lines_json(const Bus& bus);

}  // namespace shmif::tools
