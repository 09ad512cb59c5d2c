#pragma once
// What `shmifctl ps` shows of the hosts on a bus.

#include <string>
#include <vector>

#include "tools/hosts.hpp"

namespace shmif::tools {

/// A table, a line for each address.
std::string to_text(const std::vector<Host>& hosts);

/// The same and more, in ASCII: a name may hold bytes that are no UTF-8, and characters that steer
/// a terminal.
std::string to_json(const std::string& path, const std::vector<Host>& hosts);

}  // namespace shmif::tools
