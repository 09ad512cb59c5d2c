#pragma once
// The output of `shmifctl --version`.

#include <string>

namespace shmif::tools {

/// "0.1.0"
std::string version_number();
/// The version of the program and the signature of the bus format that it supports.
std::string version_text();

}  // namespace shmif::tools
