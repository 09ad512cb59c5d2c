#pragma once
// The file system that a bus is on: its name, and whether a bus can live there.

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace shmif::bus {

/// `f_type` of statfs(2) for the file behind `fd`, 32 bits.
Result<std::uint64_t> file_system_of(int fd, const std::string& path);

/// "tmpfs", "overlay", ... or the number in hexadecimal.
std::string file_system_name(std::uint64_t f_type);

/// Why a bus cannot live there, as text to follow "on overlay: "; nullptr if it can.
const char* harm_on_file_system(std::uint64_t f_type) noexcept;

/// Whether the kernel writes changed pages to a disk; true for an unknown file system.
bool writes_to_disk(std::uint64_t f_type) noexcept;

}  // namespace shmif::bus
