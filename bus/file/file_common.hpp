#pragma once
// Functions that creating, opening and removing a bus file share. Internal to bus/.

#include <cstdint>
#include <string>

#include "bus/file/file.hpp"

namespace shmif::bus {

/// The error for a file system on which a bus cannot live. `doing`: "create" or "open".
Error refuse_file_system(const char* doing, const std::string& path, std::uint64_t type);

std::string directory_of(const std::string& path);

/// A path to the open file behind `fd`, as long as /proc is mounted.
std::string proc_path(int fd);

/// Reserves every block, so that a full disk is an error here and never a SIGBUS later. Errors: the
/// system's, with the remedy.
Result<void> reserve_space(int fd, const std::string& path, std::uint64_t bytes);

/// Turns an empty file into a bus, on a file system where one can live.
Result<void> fill(int fd, const std::string& path, const CreateOptions& options,
                  const BusMaker& maker);

}  // namespace shmif::bus
