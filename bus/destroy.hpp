#pragma once
// Removes a bus, and never another file that took its name meanwhile.

#include <string>

#include "bus/result.hpp"

namespace shmif::bus {

/// Removes the file at `path`, which must be a bus. Result: what the caller should know all the
/// same, which is that the file has another name; else empty. Errors: busy while live ports are
/// attached, and unsupported_file_system where that cannot be seen, unless `force`; `force` also
/// removes a bus that is damaged or of another format. copied_file when the path names another file
/// than the one that was looked at, which is then left alone.
Result<std::string> destroy(const std::string& path, bool force);

}  // namespace shmif::bus
