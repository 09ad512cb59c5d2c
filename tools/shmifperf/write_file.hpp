#pragma once
// Writes results and pages to files.

#include <string>

#include "base/result.hpp"

namespace shmif::tools {

/// Makes `path` a file that contains `text`; "-" is standard output. Blocks: for the disk. Errors:
/// the system's, with the path; a full disk is one.
Result<void> write_file(const std::string& path, const std::string& text);

}  // namespace shmif::tools
