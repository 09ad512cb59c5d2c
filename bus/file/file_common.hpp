#pragma once
// What creating, opening and removing a bus file have in common. Internal to bus/file/file.cpp,
// bus/file/open_file.cpp and bus/repair/destroy.cpp.

#include <cstdint>
#include <string>

#include "bus/file/file.hpp"

namespace shmif::bus {

/// The error for a file system on which a bus cannot live. `doing`: "create" or "open".
Error refuse_file_system(const char* doing, const std::string& path, std::uint64_t type);

std::string directory_of(const std::string& path);

/// A path to the open file behind `fd`, as long as /proc is mounted.
std::string proc_path(int fd);

/// Turns an empty file into a bus. `ready` is written last (I1).
Result<void> fill(int fd, const std::string& path, const CreateOptions& options);

}  // namespace shmif::bus
