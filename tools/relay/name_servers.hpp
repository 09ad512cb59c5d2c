#pragma once
// The name servers that this machine asks.

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "tap/cidr.hpp"

namespace shmif::tools {

inline constexpr const char* kResolvConf = "/etc/resolv.conf";

/// The name servers of the file at `path`, in their order: those of the lines "nameserver ADDRESS"
/// that have an address. Blocks: for the disk.
std::vector<tap::IpAddress> name_servers(const std::string& path = kResolvConf);

/// Whether a program that has only these `directories` (absolute paths) can find the file: each
/// symbolic link on the way to it must stay there, too. `path`: absolute. Blocks: for the disk.
bool stays_in(std::span<const std::filesystem::path> directories,
              const std::filesystem::path& path);

/// Whether only programs of the same machine, or of the same network namespace, reach the address.
bool is_loopback(const tap::IpAddress& address) noexcept;

}  // namespace shmif::tools
