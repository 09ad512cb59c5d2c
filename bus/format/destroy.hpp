#pragma once
// Removes a bus, but never another file that took its name meanwhile.

#include <string>

#include "base/result.hpp"

namespace shmif::bus {

/// Removes the file at `path`, which must be a bus. Result: a warning if the file has another name,
/// otherwise empty. Errors: busy while live ports are attached; EOPNOTSUPP if the format does not
/// tell whether ports are attached; unsupported_file_system where live ports may look dead. `force`
/// ignores these three, and also removes a bus that is damaged or of another format. copied_file if
/// the path names another file than the one that was checked; that file is left alone.
Result<std::string> destroy(const std::string& path, bool force);

}  // namespace shmif::bus
