#pragma once

#include <string>
#include <string_view>

namespace shmif::test {

// Where the tree and its build are. One source knows it, so that the others compile to the same in
// every folder (ccache).

/// The path of a file of the sources: in_source("docs/lab.schema.json").
std::string in_source(std::string_view file);

/// The path of a file of this build: in_build("tools/shmifctl").
std::string in_build(std::string_view file);

}  // namespace shmif::test
