#pragma once
// Writes results and pages to files.

#include <string>

#include "base/result.hpp"

namespace shmif::tools {

/// What to do if a file cannot be opened for writing, or not be written; empty if not known.
const char* write_advice(int number) noexcept;

/// Makes `path` a file that contains `text`; "-" is standard output. Blocks: for the disk. Errors:
/// the system's, with the path; a full disk is one.
Result<void> write_file(const std::string& path, const std::string& text);

}  // namespace shmif::tools
