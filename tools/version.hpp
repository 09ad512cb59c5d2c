#pragma once
// What `shmifctl --version` says.

#include <string>

namespace shmif::tools {

/// The version of the program and the signature of the bus format it speaks.
std::string version_text();

}  // namespace shmif::tools
