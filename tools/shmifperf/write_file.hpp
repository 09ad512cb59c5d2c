#pragma once
// Writes results and pages to files.

#include <string>
#include <vector>

#include "base/result.hpp"

namespace shmif::tools {

/// Whether write_file() will be able to make `path`. Call it before a measurement, so that the
/// result is not lost. Blocks: for the disk. Errors: exists for a bus and for one of `inputs`, the
/// paths of files that the command reads; those of the system.
Result<void> check_file(const std::string& path, const std::vector<std::string>& inputs = {});

/// Makes `path` a file that contains `text`. It appears there only once all of it is written
/// (bus/file/output_file.hpp). "-" is standard output. Blocks: for the disk. Errors: those of
/// check_file(); a full disk is one.
Result<void> write_file(const std::string& path, const std::string& text,
                        const std::vector<std::string>& inputs = {});

}  // namespace shmif::tools
