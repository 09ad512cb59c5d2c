#pragma once
// The output of `shmifctl ps`: the hosts on a bus.

#include <string>
#include <vector>

#include "tools/show/hosts.hpp"

namespace shmif::tools {

/// A table with a line for each address.
std::string to_text(const std::vector<Host>& hosts);

/// The same and more as JSON, in ASCII, because a name may contain invalid UTF-8 or control
/// characters.
std::string to_json(const std::string& path, const std::vector<Host>& hosts);

}  // namespace shmif::tools
