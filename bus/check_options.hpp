#pragma once
// The checks of PortOptions that all formats have in common.

#include <string>

#include "base/result.hpp"
#include "bus/port_options.hpp"

namespace shmif::bus {

/// Whether a port may have this name: 1 to 31 printable ASCII characters without spaces.
bool is_valid_name(const std::string& name) noexcept;

/// Errors: bad_name; bad_argument for a MAC address that is not unicast.
Result<void> check_options(const std::string& path, const PortOptions& options);

}  // namespace shmif::bus
