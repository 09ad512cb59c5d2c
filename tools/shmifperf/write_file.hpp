#pragma once
// Writes results and pages to files.

#include <string>
#include <vector>

#include "base/result.hpp"

namespace shmif::tools {

/// Whether write_file() may make `path`, so that a measurement is not lost at its end. Blocks: for
/// the disk. Errors: exists for a bus and for one of `inputs`, the paths of files that the command
/// reads; the system's.
Result<void> check_file(const std::string& path, const std::vector<std::string>& inputs = {});

/// Makes `path` a file that contains `text`, once all of it is written (bus/file/output_file.hpp);
/// "-" is standard output. Blocks: for the disk. Errors: those of check_file(); a full disk is one.
Result<void> write_file(const std::string& path, const std::string& text,
                        const std::vector<std::string>& inputs = {});

}  // namespace shmif::tools
