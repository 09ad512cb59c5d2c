#pragma once
// JSON of the page's interface.

#include <string>

#include "tools/common/json.hpp"

namespace shmif::tools {

/// The text of it, on one line, in ASCII. Names and texts of a bus may contain invalid UTF-8, which
/// is replaced. Threads: safe. Blocks: never.
std::string page_json(const Json& json);

}  // namespace shmif::tools
