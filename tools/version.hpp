#pragma once
// What `shmifctl --version` says.

#include <string>

namespace shmif::tools {

/// "0.1.0"
std::string version_number();
/// The version of the program and the signature of the bus format it speaks.
std::string version_text();

}  // namespace shmif::tools
