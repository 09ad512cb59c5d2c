#pragma once
// Results and pages, written where the user wants them.

#include <string>

#include "bus/result.hpp"

namespace shmif::tools {

/// Makes `path` a file with `text` in it; "-" is standard output. Blocks: on the disk. Errors: the
/// system's, with the path; a full disk is one.
Result<void> write_file(const std::string& path, const std::string& text);

}  // namespace shmif::tools
